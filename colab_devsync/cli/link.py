"""`connect`, `disconnect`, `status`, `doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from ..core.events import with_path
from ..errors import ConfigError
from . import new_runtime, output, pull
from .runs import summary
from .settings import current, global_options
from .talk import IDLE, Talk

_LINK_COLOURS = {"online": "green", "connecting": "yellow", "offline": "white"}
_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("-", "yellow")}


@click.command()
@global_options(hidden=True)
@click.argument("endpoint", required=False)
@click.option(
    "--forget-host-key",
    is_flag=True,
    help="Ask about the VM's host key anew: it is another machine, and you know why.",
)
@click.option("--new", is_flag=True, help="Make a new Colab runtime first; asks.")
@click.option("--gpu", metavar="NAME", help="With --new: T4, L4, G4, A100, H100.")
@click.option("--tpu", metavar="NAME", help="With --new: v5e1, v6e1.")
@click.option("--high-mem", is_flag=True, help="With --new: more memory.")
@click.option("--yes", is_flag=True, help="With --new: do not ask.")
def connect(
    endpoint: str | None,
    *,
    forget_host_key: bool,
    new: bool,
    gpu: str | None,
    tpu: str | None,
    high_mem: bool,
    yes: bool,
) -> None:
    """Connect to the VM. ENDPOINT may be a pasted `ssh -p 12345 root@host` line, or
    the `devsync://…` line that the notebook shows."""
    settings = current()
    wish = new_runtime.Wish(gpu, tpu, high_mem)
    if new:
        new_runtime.make_runtime(settings, wish, is_sure=yes)
    elif wish.options or yes:
        raise click.UsageError("--gpu, --tpu, --high-mem and --yes belong to --new.")
    forget = {"forgetHostKey": True} if forget_host_key else {}
    with Talk(settings) as talk:
        status = talk.job("connect", endpoint=endpoint, **forget)
        output.result(settings, status, _describe(status))


@click.command()
@global_options(hidden=True)
def disconnect() -> None:
    """Disconnect from the VM; nothing is mirrored until `connect` or `sync`."""
    settings = current()
    with Talk(settings) as talk:
        was_idle = talk.in_project("status")["link"] in IDLE
        status = talk.in_project("disconnect")
        try:
            talk.require_config()
        except ConfigError as error:
            if was_idle:  # else a session has ended, whatever its file says now
                raise
            output.note(f"warning: {error.message}")
        output.result(settings, status, _describe(status))


@click.command()
@global_options(hidden=True)
def status() -> None:
    """Show link, VM and mirror."""
    settings = current()
    with Talk(settings) as talk:
        found = talk.status(look=True)
        output.result(settings, found, _describe(found))


@click.command()
@global_options(hidden=True)
def doctor() -> int:
    """Check everything on the way to the VM and say what to do."""
    settings = current()
    with Talk(settings, anywhere=True) as talk:
        report = talk.job("doctor")
    if settings.json:
        for check in report["checks"]:
            output.json_line(check)
    else:
        for check in report["checks"]:
            click.echo(_check_line(check), color=output.colour())
    return 0 if report["ok"] else 1


def _check_line(check: dict[str, Any]) -> str:
    mark, colour = _MARKS[check["ok"]]
    line = f"{click.style(mark, fg=colour)} {check['name']:<13} {check['message']}"
    if check["hint"]:
        line += f"\n{' ' * 16}{click.style('next:', fg='cyan')} {check['hint']}"
    return line


def _describe(status: dict[str, Any]) -> str:
    link = click.style(status["link"], fg=_LINK_COLOURS.get(status["link"], "red"))
    rtt = f", {status['rttMs']:.0f} ms away" if "rttMs" in status else ""
    target = f" to {status['target']}" if status.get("target") else ""
    pending, waiting = status["pending"], status["conflicts"]
    conflicts = "none"
    if waiting:
        conflicts = f"{waiting}: `colab-devsync conflicts` lists them"
    problems = [
        f"{with_path(p['path'] or 'mirror', p['message'])} {p['hint']}".rstrip()
        for p in status.get("problems", ())
    ]
    return output.table(
        [
            ("project", f"{status['name']} ({status['folder']})"),
            ("profile", status.get("profile") or ""),
            ("link", f"{link}{target}{rtt}"),
            ("sessions", ", ".join(map(_colab, status.get("sessions", ())))),
            ("", ""),
            *_machine(status.get("vm") or {}),
            ("files", f"{status['files']} mirrored, {pending} on the way"),
            ("conflicts", conflicts),
            ("runs", "\n".join(_runs(status.get("runs", ())))),
            ("forwards", "\n".join(map(_forward, status.get("forwards", ())))),
            ("pulls", "\n".join(map(pull.shown, status.get("pulls", ())))),
            ("problems", "\n".join(problems)),
            ("message", status.get("message") or ""),
        ]
    )


def _runs(found: Sequence[dict[str, Any]]) -> list[str]:
    """What runs now, and what ended last."""
    ended = [one for one in found if one["state"] != "running"]
    shown = [one for one in found if one["state"] == "running"] + ended[-1:]
    return [summary(one) for one in shown]


def _forward(forward: dict[str, Any]) -> str:
    name = forward.get("name")
    if name == "ssh":
        return f"127.0.0.1:{forward['localPort']} leads to the VM's own SSH server"
    shown = f" ({name})" if name else ""
    return f"{forward['url']} leads to port {forward['remotePort']}{shown}"


def _colab(session: dict[str, Any]) -> str:
    return f"{session['name']} ({session['hardware']})"


def _machine(vm: dict[str, Any]) -> list[tuple[str, str]]:
    if not vm:
        return []
    disk = ""
    if vm.get("disk_free") is not None and vm.get("disk_total") is not None:
        disk = f"{output.size(vm['disk_free'])} of {output.size(vm['disk_total'])} free"
    memory = output.size(vm["ram_total"]) if vm.get("ram_total") else ""
    return [
        ("vm", f"{vm['user']}@{vm['host']}, Python {vm['python']}"),
        ("gpu", vm.get("gpu") or "none seen"),
        ("memory", memory),
        ("disk", disk),
        ("up for", output.age(vm["uptime_s"]) if vm.get("uptime_s") else ""),
        ("folder", vm["root"]),
        ("transfer", vm.get("transfer") or ""),
    ]
