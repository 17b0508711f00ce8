"""`relay`: sets your own server up as the way in, and attacks what was set up."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..core.config import Config
from ..core.endpoint import checked_pin
from ..core.events import Question
from ..core.relay import LISTEN_PORT, VM_USER, RelayPlan
from ..daemon import relay_setup
from ..daemon.notebook import find_public_keys
from ..daemon.projects import find_root
from ..daemon.relay_keys import vm_key
from ..daemon.relay_setup import Server
from ..engine.project import load_project
from ..errors import ConfigError
from . import output
from .settings import Settings, current, global_options

F = TypeVar("F", bound=Callable[..., Any])
_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("-", "yellow")}


@click.group()
@global_options(hidden=True)
def relay() -> None:
    """Your own server as the way in to the VM: OpenSSH only, no public port."""


def _server(command: F) -> F:
    for add in (
        click.option(
            "--vm-user",
            default=VM_USER,
            metavar="NAME",
            help=f"The VM's account there (default: {VM_USER}).",
        ),
        click.argument("server", required=False, metavar="[USER@HOST[:PORT]]"),
    ):
        command = add(command)
    return command


@relay.command()
@global_options(hidden=True)
@_server
@click.option(
    "--laptop-user",
    metavar="NAME",
    help="Your machine's account there, which can only reach the VM "
    "(default: the VM's with -laptop).",
)
@click.option("--own-account", is_flag=True, help="Make none: you use one you have.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Where it listens for the VM."
)
@click.option("--public-key", metavar="FILE|LINE", help="Your machine's public key.")
@click.option("--apply", is_flag=True, help="Do it there, through ssh, after asking.")
@click.option("--yes", is_flag=True, help="With --apply: do not ask.")
@click.option("-o", "ssh_options", multiple=True, metavar="OPTION", help="As for ssh.")
def setup(
    server: str | None,
    vm_user: str,
    *,
    laptop_user: str | None,
    own_account: bool,
    port: int | None,
    public_key: str | None,
    apply: bool,
    yes: bool,
    ssh_options: tuple[str, ...],
) -> None:
    """Print (or with --apply run) the script that makes a server a relay.

    It makes an account for the VM that can do nothing but listen on one port of the
    server's localhost, and one for your machine that can only reach that port. The
    VM's key is made here; `relay key` shows it for Colab's secrets.
    """
    settings = current()
    config = _config(settings)
    there = _where(server, config)
    keys = find_public_keys(config.link if config else None, public_key)
    plan = RelayPlan(
        host=there.host,
        vm_key=relay_setup.make_vm_key(there, vm_user).public,
        laptop_keys=keys,
        vm_user=vm_user,
        laptop_user=None if own_account else laptop_user or f"{vm_user}-laptop",
        port=_port(port, config),
    )
    body = _body(plan, there)
    if plan.laptop_user is not None and not keys:
        output.note(
            f"No public key of yours was found, so {plan.laptop_user} would let nobody "
            "in: make one with `ssh-keygen -t ed25519`, or name it with --public-key."
        )
    if not apply:
        output.result(settings, body, plan.script().rstrip("\n"))
        output.note(
            "Nothing was done. The same with --apply does it there; or take the script "
            "there yourself, as `setup.sh` for instance, and run it as root:\n"
            f"  {_by_hand(there, ssh_options)}"
        )
        return
    _apply(settings, there, plan, yes=yes, options=ssh_options)
    output.result(settings, {**body, "applied": True}, "The relay is set up.")
    _say_next(plan, there)


@relay.command()
@global_options(hidden=True)
@_server
@click.option(
    "--laptop-user", metavar="NAME", help="Your machine's account (default: [link])."
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Where it listens for the VM."
)
@click.option(
    "--vm-key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The VM's private key (default: the one `relay setup` made).",
)
@click.option("--identity-file", metavar="FILE", help="Your own key (default: [link]).")
@click.option(
    "--host-key",
    metavar="SHA256:...",
    help="The relay's host key (default: the known one; asked about once).",
)
def check(
    server: str | None,
    vm_user: str,
    *,
    laptop_user: str | None,
    port: int | None,
    vm_key: Path | None,
    identity_file: str | None,
    host_key: str | None,
) -> int:
    """Attack the relay with both keys: nothing may work but the one way.

    Exits with 1 if there is a hole. Best while no VM is connected: a port that is taken
    cannot be listened on by an attacker either.
    """
    settings = current()
    config = _config(settings)
    there = _where(server, config)
    root = find_root(settings.start)
    link = config.link if config else None
    holes = 0
    for one in relay_setup.examine(
        there,
        vm_user=vm_user,
        vm_key_file=vm_key or _made_key(there, vm_user),
        laptop_user=laptop_user or relay_setup.laptop_login(link),
        identity_file=identity_file or (link.identity_file if link else None),
        listen_port=_port(port, config),
        state=relay_setup.state_of(root, settings.profile_name),
        profile=settings.profile_name,
        host_key=checked_pin("--host-key", host_key),
        ask=_ask,
    ):
        holes += one.ok is False
        mark, colour = _MARKS[one.ok]
        body = {"name": one.name, "ok": one.ok, "message": one.message}
        text = f"{click.style(mark, fg=colour)} {one.name:<28} {one.message}"
        if one.hint and one.ok is not True:
            text += f"\n  {click.style('next:', fg='cyan')} {one.hint}"
        output.result(settings, {**body, "hint": one.hint}, text)
    if not settings.json:
        text = f"{holes} to be closed" if holes else "no hole found"
        click.echo(f"{there.host}: {text}.")
    return 1 if holes else 0


@relay.command()
@global_options(hidden=True)
@_server
@click.option("--public", is_flag=True, help="The public half instead.")
def key(server: str | None, vm_user: str, public: bool) -> None:
    """Print the VM's private key for the relay, for Colab's secrets."""
    settings = current()
    there = _where(server, _config(settings))
    made = relay_setup.make_vm_key(there, vm_user)
    text = made.public if public else made.private.rstrip("\n")
    output.result(settings, {"path": str(made.path), "key": text}, text)
    if not public:
        output.note(
            "Store all of it as DEVSYNC_RELAY_KEY in Colab's secrets (the key symbol "
            "in the side bar), with notebook access. It is for the VM alone."
        )


def _apply(
    settings: Settings,
    there: Server,
    plan: RelayPlan,
    *,
    yes: bool,
    options: tuple[str, ...],
) -> None:
    shown = relay_setup.run_script(there, plan, "plan", options=options, terminal=False)
    output.note(f"On {there.login} (+ would be done, = is so already):\n{shown}")
    if "\n+ " not in f"\n{shown}":
        return
    terminal = relay_setup.has_terminal() and not settings.json
    if not yes:
        if not terminal:
            raise ConfigError(
                "There is no terminal to ask; nothing was changed.",
                "Add --yes to do what is shown above.",
            )
        if not click.confirm(f"Do this on {there.login}?", default=None, err=True):
            raise click.Abort
    relay_setup.run_script(there, plan, "apply", options=options, terminal=terminal)


def _by_hand(there: Server, options: tuple[str, ...]) -> str:
    """With a terminal, for sudo to ask in."""
    ssh = relay_setup.ssh_command(there, options, terminal=True)
    *before, login = ssh[1:]
    scp = ["scp", *("-P" if one == "-p" else one for one in before if one != "-t")]
    copy, run = shlex.join([*scp, "setup.sh", f"{login}:"]), shlex.join(ssh)
    return f"{copy} && {run} sudo sh setup.sh"


def _say_next(plan: RelayPlan, there: Server) -> None:
    user = plan.laptop_user or there.login.rpartition("@")[0]
    name = f"{user}@{there.host}" if user else there.host
    output.note(
        f'In .colabremote.toml: provider = "relay", relay = "{name}:{there.port}", '
        f"port = {plan.port}\nNext: `colab-devsync relay check`, `colab-devsync relay "
        "key` (for Colab's secrets), `colab-devsync notebook`."
    )


def _body(plan: RelayPlan, there: Server) -> dict[str, Any]:
    return {
        "server": there.login,
        "rules": plan.rules,
        "vmLines": list(plan.vm_lines),
        "laptopLines": list(plan.laptop_lines),
        "script": plan.script(),
        "applied": False,
    }


def _config(settings: Settings) -> Config | None:
    """The project's, if there is one: a relay can be set up before."""
    root = find_root(settings.start)
    return None if root is None else load_project(root, settings.profile_name)


def _where(server: str | None, config: Config | None) -> Server:
    text = server or (config.link.relay if config else None)
    if not text:
        raise ConfigError(
            "No server was named, and no project here has a `relay`.",
            "Name it, as in `colab-devsync relay setup me@vps.example.com`.",
        )
    return Server.parse(text)


def _port(port: int | None, config: Config | None) -> int:
    if port is not None:
        return port
    if config is not None and config.link.provider == "relay":
        return config.link.port
    return LISTEN_PORT


def _made_key(there: Server, vm_user: str) -> Path:
    made = vm_key(vm_user, there.host, there.port)
    if made is None:
        raise ConfigError(
            f"There is no key yet for {vm_user} on {there.host}:{there.port}.",
            "`colab-devsync relay setup` makes it; or name one with --vm-key.",
        )
    return made.path


def _ask(question: Question) -> str:
    """Nobody there: the safe choice."""
    if not relay_setup.has_terminal():
        output.note(f"{question.text}\nNot answered: there is no terminal to ask.")
        return question.safe
    answer: str = click.prompt(
        question.text, type=click.Choice(list(question.choices)), err=True
    )
    return answer
