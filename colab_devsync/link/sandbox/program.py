"""One program of the sandbox: a real process, joined to its channel by pipes or a pty.

Like under sshd, it runs in a session of its own, and what it started there is hung up
when the channel closes; what made itself another session lives on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST
from paramiko.message import Message

from .pumps import spawn
from .streams import Pipes, Streams
from .terminal import Terminal, on_terminal

_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_SHELLS = ("bash", "zsh", "ksh", "fish", "dash", "sh")


@dataclass(frozen=True)
class Launch:
    """What to start. Without `command` the user's shell."""

    vm: Path
    env: Mapping[str, str]  # on top of the sandbox's own
    command: bytes | None = None
    terminal: Terminal | None = None


class Program:
    def __init__(
        self,
        channel: paramiko.Channel,
        launch: Launch,
        *,
        on_end: Callable[[Program], None],
    ) -> None:
        self.channel = channel
        self._launch = launch
        self._on_end = on_end
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def terminal(self) -> Terminal | None:
        return self._launch.terminal

    def start(self) -> bool:
        """Starts it; nothing is sent before `begin`. False if that is not possible."""
        launch, terminal = self._launch, self._launch.terminal
        argv: Sequence[str | bytes] = [_shell()]
        if launch.command is not None:
            argv = [b"/bin/sh", b"-c", launch.command]
        there: int = subprocess.PIPE
        if terminal is not None:
            argv, there = on_terminal(argv), terminal.slave
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=there,
                stdout=there,
                stderr=there,
                cwd=launch.vm,
                env={**_environment(launch.vm), **launch.env},
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError):
            if terminal is not None:
                terminal.close()
            return False  # the VM folder is gone, or a NUL in the command
        return True

    def begin(self) -> None:
        """The client knows that it has started, and may be told how it ends."""
        assert self._process is not None
        streams: Streams = self.terminal or Pipes(self._process)
        spawn("program", self._run, self._process, streams)

    def signal(self, number: int) -> None:
        """To its process group; nothing happens if it has ended."""
        if sys.platform != "win32" and self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def hang_up(self) -> None:
        if sys.platform != "win32":
            self.signal(signal.SIGHUP)

    def _run(self, process: subprocess.Popen[bytes], streams: Streams) -> None:
        channel = self.channel
        spawn("stdin", self._feed, streams)
        outputs = streams.start_outputs(channel)
        status = process.wait()
        streams.finish()
        for output in outputs:
            output.join()
        try:
            if status >= 0:
                channel.send_exit_status(status)
            else:
                _send_exit_signal(channel, -status)
        except (OSError, EOFError, paramiko.SSHException):
            pass  # the client has gone
        finally:
            self._on_end(self)
            channel.close()
            streams.close()

    def _feed(self, streams: Streams) -> None:
        streams.feed(self.channel)
        if self.channel.closed:
            self.hang_up()


def _environment(vm: Path) -> dict[str, str]:
    user = os.environ.get("USER", "root")
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "HOME": str(vm), "USER": user, "LOGNAME": user, "SHELL": _shell()}


def _shell() -> str:
    """The user's own shell, if it is one that takes what people and tools send it."""
    shell = os.environ.get("SHELL", "")
    usable = Path(shell).name in _SHELLS and os.access(shell, os.X_OK)
    return shell if usable else "/bin/sh"


def _send_exit_signal(channel: paramiko.Channel, number: int) -> None:
    m = Message()
    m.add_byte(cMSG_CHANNEL_REQUEST)
    m.add_int(channel.remote_chanid)
    m.add_string("exit-signal")
    m.add_boolean(False)
    m.add_string(signal.Signals(number).name.removeprefix("SIG"))
    m.add_boolean(False)
    m.add_string("")
    m.add_string("")
    channel.transport._send_user_message(m)  # type: ignore[union-attr]
