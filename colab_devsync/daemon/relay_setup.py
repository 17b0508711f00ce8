"""`relay setup` and `relay check`: what they need from disk, and the way to the server.

The script runs through the system's own `ssh`, so that its configuration, agent, jump
hosts and password questions work as the user knows them. Blocks; any thread.
"""

from __future__ import annotations

import base64
import getpass
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.config import LinkConfig
from ..core.config.formats import RELAY
from ..core.endpoint import split_relay
from ..core.events import Ask
from ..core.relay import RelayPlan
from ..engine.places import project_state_dir, state_dir
from ..errors import ConfigError, ConnectFailed, RelayRefused
from .relay_keys import VmKey, vm_key

if TYPE_CHECKING:
    from ..link.relay_check import Finding

_SSH_ITSELF = 255  # what ssh exits with when it could not connect
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Server:
    """The relay as an administrator reaches it."""

    login: str  # "me@vps.example.com", or an alias of ~/.ssh/config
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Server:
        """ConfigError."""
        if not RELAY.accepts(text):
            raise ConfigError(
                f"{text!r} names no SSH server.",
                "Name it as in me@vps.example.com or root@203.0.113.7:2222.",
            )
        user, host, port = split_relay(text)
        return cls(f"{user}@{host}" if user else host, host, port)


def make_vm_key(server: Server, vm_user: str) -> VmKey:
    """The VM's key for this relay; made at the first call."""
    key = vm_key(vm_user, server.host, server.port, make=True)
    assert key is not None
    return key


def run_script(
    server: Server,
    plan: RelayPlan,
    mode: str,
    *,
    options: Sequence[str],
    terminal: bool,
) -> str:
    """Runs the plan's script there as root (sudo where needed); what it says.

    With `terminal`, sudo may ask for a password, and all is shown as it comes. mode
    "plan" changes nothing and asks nothing. ConnectFailed, RelayRefused.
    """
    argv = [*ssh_command(server, options, terminal), remote_command(plan, mode)]
    try:
        done = subprocess.run(
            argv,
            stdin=None if terminal else subprocess.DEVNULL,
            stdout=None if terminal else subprocess.PIPE,
            stderr=None if terminal else subprocess.PIPE,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise ConfigError(
            "There is no `ssh` command on this machine.",
            "Install OpenSSH's client, or run the printed script on the server.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ConnectFailed(
            f"{server.login} did not finish within {_TIMEOUT_S} s.",
            "Look at that server, and try again: what is done is not done twice.",
        ) from error
    said = (done.stderr or "").strip()
    if done.returncode == _SSH_ITSELF:
        raise ConnectFailed(
            f"ssh could not log in to {server.login}. {said}".strip(),
            f"`{by_hand(server, options)}` must work first.",
        )
    if done.returncode != 0:
        raise RelayRefused(
            f"The set-up on {server.login} stopped. {said}".strip(),
            "What it had done stays; run it again when that is cured.",
        )
    return done.stdout or ""


def by_hand(server: Server, options: Sequence[str]) -> str:
    """What a person would type to log in."""
    return shlex.join(
        [one for one in ssh_command(server, options, True) if one != "-t"]
    )


def ssh_command(server: Server, options: Sequence[str], terminal: bool) -> list[str]:
    # 22 may be another port in ~/.ssh/config, where the name is an alias
    argv = ["ssh", *(("-p", str(server.port)) if server.port != 22 else ())]
    for option in options:
        argv += ["-o", option]
    return [*argv, *(("-t",) if terminal else ("-o", "BatchMode=yes")), server.login]


def remote_command(plan: RelayPlan, mode: str) -> str:
    """For whatever login shell there is: one pair of single quotes, nothing inside that
    fish or csh would read otherwise."""
    text = base64.b64encode(plan.script().encode()).decode()
    rest = {
        # what sudo would ask for is not worth a question: a plan then sees a bit less
        "plan": 'elif sudo -n true 2>/dev/null; then exec sudo -n sh -c "$s" sh plan; '
        'else exec sh -c "$s" sh plan; fi',
        "apply": 'else exec sudo sh -c "$s" sh apply; fi',
    }[mode]
    start = f"s=$(printf %s {text} | base64 -d); if [ $(id -u) = 0 ]; then "
    return f"sh -c '{start}exec sh -c \"$s\" sh {mode}; {rest}'"


def examine(
    server: Server,
    *,
    vm_user: str,
    vm_key_file: Path,
    laptop_user: str | None,
    identity_file: str | None,
    listen_port: int,
    state: Path,
    profile: str | None,
    host_key: str | None,
    ask: Ask,
) -> Iterator[Finding]:
    """The attacks, one finding after the other. LinkError if nobody answers there."""
    # imported late: paramiko costs 0.25 s, and most commands do not need it
    from ..link.hostkeys import Trust, pins_of
    from ..link.relay_check import VM_THERE, Relay, attack_as_laptop, attack_as_vm

    where = f"{server.host}:{server.port}"
    trust = Trust(pins_of(state), profile, where, host_key, what="relay")
    relay = Relay(server.host, server.port, listen_port, trust)
    occupied = False
    if laptop_user is not None:
        for finding in attack_as_laptop(relay, laptop_user, identity_file, ask):
            occupied = occupied or finding.name == VM_THERE
            yield finding
    yield from attack_as_vm(relay, vm_user, vm_key_file, ask, occupied=occupied)


def state_of(root: Path | None, profile: str | None) -> Path:
    """Where the relay's host key is pinned: with the project, so that `connect` and
    `notebook` know it too."""
    return state_dir() / "relay" if root is None else project_state_dir(root, profile)


def laptop_login(link: LinkConfig | None) -> str | None:
    """The user your own machine logs in to the relay as, if a project says so."""
    if link is None or link.provider != "relay" or not link.relay:
        return None
    return split_relay(link.relay)[0] or getpass.getuser()


def has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()
