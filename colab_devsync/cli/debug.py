"""`debug`: a program on the VM under a debugger that an editor attaches to."""

from __future__ import annotations

import json
from typing import Any

import click

from . import output
from .run_stream import RunStream
from .runs import stay
from .settings import current, global_options
from .talk import Talk
from .targets import TargetCommand, target_arguments

_ATTACH_INFO = "--attach-info"


class DebugCommand(TargetCommand):
    """Takes --attach-info behind FILE, too: programs have no option of that name, and
    who asks for it must not wait for a program's end."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        own = [one for one in args[:end] if one != _ATTACH_INFO]
        if len(own) < end:
            args = [_ATTACH_INFO, *own, *args[end:]]
        return super().parse_args(ctx, args)


@click.command(cls=DebugCommand)
@global_options(hidden=True)
@click.option("-m", "--module", metavar="MODULE", help="Debug a module.")
@click.option("--run", "run_id", metavar="RUN", help="Attach to one of `runs`.")
@click.option(
    "--pid", type=click.IntRange(1), metavar="N", help="Attach to a process on the VM."
)
@click.option(
    "--wait",
    type=click.IntRange(1),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="End the program if nobody attaches for so long.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="The port here to attach to (default: any).",
)
@click.option(
    _ATTACH_INFO,
    is_flag=True,
    help="Print all that a debugger needs as one JSON object, and return.",
)
@click.option("--no-sync", is_flag=True, help="Do not wait for the mirror.")
@click.argument("file", required=False)
def debug(file: str | None, args: tuple[str, ...], **options: Any) -> int:
    """Start FILE on the VM, or what [run] names, and wait for a debugger.

    Prints how to attach, then what the program prints; exits with its code. With --run
    or --pid, debugs what runs already, and returns.
    """
    settings = current()
    stream = RunStream(settings)
    is_attach = options["run_id"] is not None or options["pid"] is not None
    if is_attach and (file or options["module"]):
        raise click.UsageError("Name a program, or --run, or --pid.")
    if options["run_id"] is not None and options["pid"] is not None:
        raise click.UsageError("Name --run or --pid, not both.")
    listen = not (is_attach or options["attach_info"])
    with (
        stream.bar,
        Talk(settings, notified=stream.notified, pause=stream.bar.pause) as talk,
    ):
        target = target_arguments(settings, talk.folder, file, options["module"])
        info = talk.job(
            "debug",
            **target,
            args=list(args),
            run=options["run_id"],
            pid=options["pid"],
            wait=options["wait"],
            port=options["port"],
            sync=not options["no_sync"],
            listen=listen,
        )
        stream.bar.stop()

        def announce() -> None:
            if options["attach_info"] or settings.json:
                output.json_line(info)
            else:
                output.note(how_to_attach(info))
            port = info["connect"]["port"]
            if options["port"] not in (None, port):
                output.note(
                    f"Port {options['port']} of this machine is taken; "
                    f"{port} was the next free one."
                )

        if listen:
            return stay(settings, stream, talk, info["run"], announce=announce)
        announce()
        return 0


def how_to_attach(info: dict[str, Any]) -> str:
    """For a person, a line per editor."""
    where = f"{info['connect']['host']}:{info['connect']['port']}"
    name = info.get("run", "The process")
    limit = f", {info['waitSeconds']:.0f} s at most" if "waitSeconds" in info else ""
    configuration = json.dumps(info["configuration"])
    rows = [
        ("VS Code", f"an entry of launch.json: {configuration}"),
        (
            "PyCharm",
            f"a Debug Adapter Protocol configuration (LSP4IJ): attach to {where}, "
            "with the same parameters",
        ),
        ("Neovim", 'nvim-dap: require("dap").run(vim.json.decode([[the same]]))'),
    ]
    return f"{name} waits for a debugger at {where}{limit}.\n{output.table(rows)}"
