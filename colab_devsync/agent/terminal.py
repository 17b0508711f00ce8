"""A pseudo-terminal for a program, so that it behaves as it does in front of a person.

The program must be the leader of a session whose terminal this is. A process with
threads cannot arrange that after a fork, so a tiny launcher does, and becomes the
program.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
from typing import Dict, List, Set

assert sys.platform != "win32"  # runs on the VM only

DEFAULT_ROWS, DEFAULT_COLUMNS = 24, 80
_MAX_CELLS = 10_000
_IUTF8 = 0x4000  # Linux and macOS; Python has no name for it
_COMMON_TERM = "xterm-256color"
_TERMINFO = ("/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo")

# Becoming the program closes `report`; if that fails, errno is written there.
_LAUNCHER = """\
import fcntl,os,sys,termios
report=int(sys.argv[1])
os.set_inheritable(report,False)
fcntl.ioctl(0,termios.TIOCSCTTY,0)
try:
 os.execvp(sys.argv[2],sys.argv[3:])
except OSError as e:
 os.write(report,b"%d"%e.errno)
"""


class Terminal:
    """Our end. `read` and `write` may be on two threads."""

    def __init__(self, rows: int, columns: int) -> None:
        self.fd, self._theirs = os.openpty()
        os.set_blocking(self.fd, False)
        self.resize(rows, columns)
        modes = termios.tcgetattr(self._theirs)
        modes[0] |= _IUTF8  # backspace erases a letter, not a byte
        self._end_of_file: bytes = modes[6][termios.VEOF]
        termios.tcsetattr(self._theirs, termios.TCSANOW, modes)

    def start(
        self, file: str, argv: List[str], cwd: str, env: Dict[str, str]
    ) -> "subprocess.Popen[bytes]":
        """`file` with `argv` as the terminal's first program. OSError if there is no
        such program, and like subprocess."""
        heard, report = os.pipe()
        try:
            launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(report)]
            child = subprocess.Popen(
                [*launcher, file, *argv],
                cwd=cwd,
                env=env,
                stdin=self._theirs,
                stdout=self._theirs,
                stderr=self._theirs,
                start_new_session=True,
                pass_fds=(report,),
            )
        except BaseException:
            os.close(heard)
            raise
        finally:
            os.close(report)
            os.close(self._theirs)
        with os.fdopen(heard, "rb") as stream:
            failure = stream.read()
        if failure:
            child.wait()
            raise OSError(int(failure), os.strerror(int(failure)))
        return child

    def read(self, size: int) -> bytes:
        """Blocks; b"" once no program holds the terminal any more."""
        readable = select.poll()
        readable.register(self.fd, select.POLLIN)
        while True:
            readable.poll()
            try:
                return os.read(self.fd, size)
            except BlockingIOError:
                continue
            except OSError as exc:
                if exc.errno == errno.EIO:  # how Linux says it
                    return b""
                raise

    @property
    def end_of_file(self) -> bytes:
        """What a person would type: twice, because the line may have begun."""
        return self._end_of_file * 2

    def resize(self, rows: int, columns: int) -> None:
        """The programs in front get SIGWINCH."""
        size = struct.pack("HHHH", _bounded(rows), _bounded(columns), 0, 0)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, size)

    def foreground(self) -> Set[int]:
        """The process group that has the keyboard, if there is one."""
        try:
            group = os.tcgetpgrp(self.fd)
        except OSError:
            return set()
        return {group} if group > 1 else set()

    def close(self) -> None:
        """Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def variables(term: str, env: Dict[str, str]) -> Dict[str, str]:
    """What programs at a terminal look at: its kind, and that it shows UTF-8."""
    found = {"TERM": _known(term or _COMMON_TERM, env)}
    if not any(env.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG")):
        found["LANG"] = "C.UTF-8"
    return found


def _known(term: str, env: Dict[str, str]) -> str:
    """`term`, or a common one if this machine has no description of it: `less` and
    editors refuse to start in a terminal they do not know."""
    home = os.path.join(env.get("HOME", "/"), ".terminfo")
    folders = [env.get("TERMINFO", ""), home, *_TERMINFO]
    if _is_described(term, folders) or not _is_described(_COMMON_TERM, folders):
        return term
    return _COMMON_TERM


def _is_described(term: str, folders: List[str]) -> bool:
    if not term or "/" in term:
        return False
    places = (term[0], "%x" % ord(term[0]))
    return any(
        os.path.exists(os.path.join(folder, place, term))
        for folder in folders
        if folder
        for place in places
    )


def _bounded(cells: int) -> int:
    return min(max(int(cells), 1), _MAX_CELLS)
