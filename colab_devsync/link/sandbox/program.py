"""One `exec` of the sandbox: a real process under /bin/sh, joined to its channel.

Like under sshd, it runs in a session of its own, and what it started there is hung up
when the channel closes; what made itself another session lives on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST
from paramiko.message import Message

from .pumps import from_pipe, spawn, to_pipe

_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


class Program:
    def __init__(
        self,
        channel: paramiko.Channel,
        command: bytes,
        vm: Path,
        *,
        on_end: Callable[[Program], None],
    ) -> None:
        self._channel = channel
        self._command = command
        self._vm = vm
        self._on_end = on_end
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> bool:
        try:
            self._process = subprocess.Popen(
                [b"/bin/sh", b"-c", self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._vm,
                env=_environment(self._vm),
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError):
            return False  # the VM folder is gone, or a NUL in the command
        spawn("program", self._run, self._process)
        return True

    def hang_up(self) -> None:
        """Ends its process group; nothing happens if it has ended."""
        if sys.platform != "win32" and self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGHUP)

    def _run(self, process: subprocess.Popen[bytes]) -> None:
        channel = self._channel
        spawn("stdin", self._feed, process.stdin)
        outputs = (
            spawn("stdout", from_pipe, process.stdout, channel.sendall),
            spawn("stderr", from_pipe, process.stderr, channel.sendall_stderr),
        )
        status = process.wait()
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

    def _feed(self, stdin: IO[bytes]) -> None:
        to_pipe(self._channel, stdin)
        if self._channel.closed:
            self.hang_up()


def _environment(vm: Path) -> dict[str, str]:
    user = os.environ.get("USER", "root")
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "HOME": str(vm), "USER": user, "LOGNAME": user, "SHELL": "/bin/sh"}


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
