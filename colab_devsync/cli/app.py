"""The command group, and what exit code an error becomes. Parses; does no work."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence

import click

from .. import __version__
from ..errors import DevsyncError
from . import (
    dap,
    debug,
    forward,
    link,
    mirror,
    notebook,
    output,
    programs,
    project,
    pull,
    push,
    relay,
    runs,
    service,
    setup,
    shell,
    ssh_config,
    tensorboard,
)
from .settings import Holder, Settings, StartServer, global_options

INTERRUPTED = 130
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # of stdout: `> file`


@click.group(
    name="colab-devsync",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The options above may also stand after the command's name.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@global_options(hidden=False)
def cli() -> None:
    """Save here, run there: mirrors a Python project to a Colab VM.

    Exit codes: 0 ok, 1 other, 2 configuration, 3 link, 4 agent, 5 sync, 6 run, 7 busy;
    `run`, `debug`, `attach` and `exec` exit with the program's own code.
    """


for _command in (
    project.init,
    notebook.notebook,
    relay.relay,
    link.connect,
    link.disconnect,
    link.status,
    mirror.sync,
    mirror.watch,
    mirror.conflicts,
    mirror.resolve,
    push.push,
    runs.run,
    runs.runs,
    runs.attach,
    runs.logs,
    runs.stop,
    programs.exec_,
    debug.debug,
    pull.pull,
    dap.dap,
    tensorboard.tensorboard,
    forward.forward,
    shell.shell,
    ssh_config.ssh_config,
    setup.setup,
    link.doctor,
    service.daemon,
    service.lsp,
    service.demo,
    service.completion,
):
    cli.add_command(_command)


def run(arguments: Sequence[str], *, in_process: StartServer | None = None) -> int:
    """Runs one command line; returns the exit code."""
    holder = Holder(Settings(start_server=in_process))
    return guarded(
        holder,
        lambda: cli.main(
            args=list(arguments),
            prog_name="colab-devsync",
            standalone_mode=False,
            obj=holder,
        ),
    )


def guarded(holder: Holder, work: Callable[[], object]) -> int:
    try:
        code = work()
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        output.note("interrupted")
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except DevsyncError as error:
        output.failure(holder.settings, error)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); nothing is left to be said.
        _say_no_more()
        return 1
    except OSError as error:
        if error.filename is not None or error.errno not in _NO_ROOM:
            raise
        _say_no_more()
        output.note(f"error: The output cannot be written: {error.strerror}.")
        return 1
    return code if isinstance(code, int) else 0


def _say_no_more() -> None:
    """What is still to be written to stdout goes nowhere, without another error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
