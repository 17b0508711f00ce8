"""One run's keeper: starts the program, waits for it, ends it when told, says how.

A process of its own, which nothing that happens to the connection reaches. Its source
is handed to a Python: it is self-contained, starts quickly, and never touches the
program's output, which goes straight into files.

On stdin come this source (`argv[1]` bytes) and, when there is something to start, the
spec as JSON; nothing more if there never is. It holds the run's lock on fd `argv[2]`
while it lives, and says on stdout `{}` once the program runs, or why it does not.
SIGTERM: look into `stop.json`, and end the program.
"""

from __future__ import annotations

import errno
import json
import os
import re
import select
import signal
import sys
import time

assert sys.platform != "win32"  # runs on the VM only

TYPE_CHECKING = False  # typing itself would take as long to import as all the rest
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    Json = Dict[str, Any]

_GRACE_S = (5.0, 5.0)  # from INT to TERM, from TERM to KILL
_LOOK_S = 0.05  # between looks for the port, or whether the group has gone
_IDLE_S = 0.5  # between looks for a connection
_TAIL = 4096  # bytes of output looked at twice, as a match may come in pieces
_PIECE = 1 << 20
_ROOM = 4096  # bytes for how it ended
_NEVER = float("inf")
_PLAIN = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD]
_PLAIN += [signal.SIGPIPE, signal.SIGXFSZ]  # which Python ignores
_NAMES = {int(one): one.name for one in signal.Signals}


def read_json(path: str) -> Json:
    """What stands there, {} if nothing of use does."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: str, value: Json) -> None:
    """All of it or nothing."""
    part = "%s.%d" % (path, os.getpid())
    with open(part, "w", encoding="utf-8") as stream:
        json.dump(value, stream)
    os.replace(part, path)


def reserve(path: str) -> None:
    """Makes room for `write_reserved`, for a disk that will be full by then."""
    with open(path + ".room", "wb") as stream:
        stream.write(b" " * _ROOM)


def write_reserved(path: str, value: Json) -> None:
    """All of it or nothing, and surely on disk."""
    with open(path + ".room", "r+b") as stream:
        stream.write(json.dumps(value).encode()[:_ROOM])
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(path + ".room", path)


class CannotStart(Exception):
    """The program could not be started; the message is for people."""


# --- the program ------------------------------------------------------------------


def start(spec: Json, out: int, err: int) -> int:
    """Starts the program in a session of its own; its pid. CannotStart."""
    told, tell = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            become(spec, out, err)
        except BaseException as exc:  # noqa: BLE001 - there is no one to catch it
            os.write(tell, why(exc, spec).encode("utf-8", "replace")[:4096])
        finally:
            os._exit(127)
    os.close(tell)
    failure = os.read(told, 4096)
    os.close(told)
    if failure:
        os.waitpid(pid, 0)
        raise CannotStart(failure.decode("utf-8", "replace"))
    return pid


def become(spec: Json, out: int, err: int) -> None:
    """Turns this process into the program."""
    os.setsid()
    os.chdir(spec["cwd"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    for number in _PLAIN:  # what is ignored would stay so
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    argv: List[str] = spec["argv"]
    os.execvpe(argv[0], argv, spec["env"])


def why(exc: BaseException, spec: Json) -> str:
    name, cwd = (spec["argv"] or ["(nothing)"])[0], spec["cwd"]
    if not os.path.isdir(cwd):
        return "no folder %s on the VM" % cwd
    if isinstance(exc, FileNotFoundError):
        return "no command %s on the VM" % name
    reason = os.strerror(exc.errno or 0) if isinstance(exc, OSError) else repr(exc)
    if getattr(exc, "errno", 0) == errno.ENOEXEC:
        reason = "not a program (no #! line?)"
    return "cannot start %s on the VM: %s" % (name, reason)


def tell_group(pid: int, number: int) -> bool:
    """Whether anybody is there to be told."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS: nothing but zombies
        return number != 0
    return True


class Stop:
    """INT, then TERM, then KILL, to the program's whole group."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._steps: List[int] = []
        self._graces: List[float] = []
        self.due = _NEVER

    @property
    def is_under_way(self) -> bool:
        return bool(self._graces)

    def begin(self, order: Json) -> None:
        """Again with more urgency, too."""
        if order.get("kill"):
            self._steps, self._graces = [signal.SIGKILL], [0.0]
        elif not self.is_under_way:
            self._steps = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
            self._graces = [float(one) for one in order.get("grace_s") or _GRACE_S]
            self._graces = [*self._graces[:2], 0.0]
        else:
            return
        self.due = time.monotonic()

    def step(self) -> None:
        """What is due."""
        if time.monotonic() < self.due:
            return
        done = len(self._graces) - len(self._steps)
        tell_group(self._pid, self._steps.pop(0))
        self.due = time.monotonic() + self._graces[done] if self._steps else _NEVER

    def finish(self) -> None:
        """The program has ended: the rest of its group goes the same way."""
        while tell_group(self._pid, 0) and self._steps:
            time.sleep(_LOOK_S)
            self.step()


# --- its port ---------------------------------------------------------------------


class Port:
    """Finds out at which port the program listens, and whether anybody comes."""

    def __init__(self, spec: Json, folder: str) -> None:
        self._wanted: Json = spec.get("wait_port") or {}
        self._folder = folder
        now = time.monotonic()
        self.due = now if self._wanted else _NEVER
        self._limit = now + float(self._wanted.get("limit_s", 60.0))
        self._idle_s: Optional[float] = self._wanted.get("idle_limit_s")
        self._offsets = {"stdout": 0, "stderr": 0}
        self.number = 0  # until it is known

    def step(self) -> str:
        """What is due; the reason why the program has to end, if there is one."""
        now = time.monotonic()
        if now < self.due:
            return ""
        if self.number:
            return self._look_for_clients(now)
        self.number = self._find()
        if self.number:
            self._note({"port": self.number})
            self.due = _NEVER if self._idle_s is None else now
            self._limit = now + (self._idle_s or 0)
        elif now >= self._limit:
            self.due = _NEVER
            text = "no port within %g s" % self._wanted.get("limit_s", 60.0)
            self._note({"message": text})
            return text if self._wanted.get("stop") else ""
        else:
            self.due = now + _LOOK_S
        return ""

    def _note(self, found: Json) -> None:
        try:
            write_json(os.path.join(self._folder, "port.json"), found)
        except OSError:
            pass  # the disk is full; the program runs all the same

    def _find(self) -> int:
        if self._wanted.get("file"):
            found = read_json(os.path.join(self._folder, str(self._wanted["file"])))
            client = found.get("client")
            return int(client.get("port") or 0) if isinstance(client, dict) else 0
        return self._search("stdout") or self._search("stderr")

    def _search(self, name: str) -> int:
        with open(os.path.join(self._folder, name), "rb") as stream:
            stream.seek(max(0, self._offsets[name] - _TAIL))
            text = stream.read(_PIECE)
            self._offsets[name] = stream.tell()
        match = re.search(str(self._wanted.get("pattern")).encode(), text)
        return int(match.group(1)) if match else 0

    def _look_for_clients(self, now: float) -> str:
        if is_connected(self.number):
            self.due = _NEVER
        elif now >= self._limit:
            self.due = _NEVER
            return "no debugger attached within %g s" % (self._idle_s or 0)
        else:
            self.due = now + _IDLE_S
        return ""


def is_connected(port: int) -> bool:
    """Whether anybody has a connection to this port of ours. Where nothing tells: yes,
    so that nothing is ended."""
    rows: List[List[str]] = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as stream:
                rows += [line.split()[1:4:2] for line in stream]
        except OSError:
            pass
    if rows:
        wanted = ":%04X" % port
        return any(row[0].endswith(wanted) and row[1] == "01" for row in rows)
    from subprocess import SubprocessError, check_output

    try:
        text = check_output(["netstat", "-an", "-p", "tcp"]).decode()
    except (OSError, SubprocessError):
        return True
    rows = [line.split() for line in text.splitlines() if "ESTABLISHED" in line]
    return any(row[3].endswith(".%d" % port) for row in rows)


# --- the whole --------------------------------------------------------------------


class Keeper:
    def __init__(self, spec: Json) -> None:
        self._folder: str = spec["folder"]
        self._spec = spec
        self._message = ""
        self._began = time.time()
        self._wake, self._waker = os.pipe()
        for end in (self._wake, self._waker):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: None)

    def path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def start(self) -> None:
        """CannotStart, OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        out = os.open(self.path("stdout"), flags, 0o600)
        err = os.open(self.path("stderr"), flags, 0o600)
        self.pid = start(self._spec, out, err)
        del self._spec["env"], self._spec["folder"]  # secrets are not for the log
        os.dup2(err, 2, inheritable=False)
        os.close(out)
        os.close(err)
        self._spec.update(pid=self.pid, keeper=os.getpid(), started=self._began)
        try:
            reserve(self.path("status.json"))
            write_json(self.path("spec.json"), self._spec)
        except OSError:  # the disk is full: nobody would find this run again
            tell_group(self.pid, signal.SIGKILL)
            raise

    def run(self) -> None:
        """Until the program has ended and how it did is written down."""
        stop, port = Stop(self.pid), Port(self._spec, self._folder)
        while True:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                break
            due = min(stop.due, port.due)
            pause = max(0.0, due - time.monotonic()) if due < _NEVER else None
            if signal.SIGTERM in self._wait(pause):
                stop.begin(read_json(self.path("stop.json")))
            stop.step()
            self._look(port, stop)
        ended_at = time.time()
        if stop.is_under_way:
            stop.finish()
        self._report(status, ended_at, stop)

    def _wait(self, pause: Optional[float]) -> bytes:
        """Signals that came."""
        ready, _, _ = select.select([self._wake], [], [], pause)
        return os.read(self._wake, 512) if ready else b""

    def _look(self, port: Port, stop: Stop) -> None:
        reason = port.step()
        if reason:
            self._message = "colab-devsync: %s; the program was ended" % reason
            try:
                os.write(2, (self._message + "\n").encode())
            except OSError:
                pass  # the disk is full
            # What only waited for a debugger has nothing to tidy up.
            stop.begin({"kill": bool(port.number)})

    def _report(self, status: int, ended: float, stop: Stop) -> None:
        found: Json = {"ended": ended}
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            found["code"] = 128 + number
            found["signal"] = _NAMES.get(number, "signal %d" % number)
            if number == signal.SIGKILL and not stop.is_under_way:
                self._message = (
                    "something on the VM killed it; that is what happens when the "
                    "VM's memory is full"
                )
        else:
            found["code"] = os.WEXITSTATUS(status)
        if self._message:
            found["message"] = self._message
        write_reserved(self.path("status.json"), found)


def tell(answer: Json) -> None:
    """To the agent, if it still lives; then nothing of it is held any more."""
    try:
        os.write(1, json.dumps(answer).encode())
    except OSError:
        pass
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)


def main(lock: int) -> None:
    """Its parent, the agent, waits only for the first of the two processes."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.set_inheritable(lock, False)
    try:
        spec = json.loads(sys.stdin.buffer.read())
    except ValueError:
        return  # the agent ended meanwhile
    try:
        keeper = Keeper(spec)
        keeper.start()
    except CannotStart as exc:
        tell({"failed": str(exc)})
        return
    except OSError as exc:
        tell({"failed": os.strerror(exc.errno or 0), "errno": exc.errno})
        return
    tell({})
    keeper.run()


if __name__ == "__main__":
    main(int(sys.argv[2]))
