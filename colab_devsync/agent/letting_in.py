"""Lets debugpy into a run by its hook (`hook.py`), without gdb. On the VM.

Both sides of it: `attach` for who asks (`debugger.py` executes this source), `enter`
for the program itself, which executes it, too. In the run's folder, `hook.py` is the
question, `hook.json` the answer, and the lock on `hook` says whose turn it is.
"""

import errno
import fcntl
import json
import os
import sys
import time

assert sys.platform != "win32"  # runs on the VM only

TYPE_CHECKING = False  # this is executed in people's programs: nothing for show
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Tuple

    from .sparing import spare_children  # stands before this source

    Json = Dict[str, Any]

_TAKE_S = 15.0  # for the program's main thread to come by
_ENTER_S = 60.0  # for debugpy to start in it, then
_LOOK_S = 0.02


class Closed(Exception):
    """There is no way in by a hook; why, for people."""


class Failed(Exception):
    """There is one, but debugpy did not get in; why, for people."""


# --- who asks -------------------------------------------------------------------------


class Way:
    """The hook of one run."""

    def __init__(self, folder: str, pid: int, number: int) -> None:
        self._folder = folder
        self._pid = pid
        self._number = number

    def path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def port(self) -> int:
        """Of an earlier time: debugpy listens in a process once. 0: there was none."""
        return int(self._answer().get("port") or 0)

    def _answer(self) -> "Json":
        try:
            with open(self.path("hook.json"), encoding="utf-8") as stream:
                found: Json = json.load(stream)
                return found
        except (OSError, ValueError):
            return {}

    def ask(self, source: str, debugpy: str, limit_s: float = _TAKE_S) -> int:
        """The port at which debugpy then speaks for the program. Closed, Failed."""
        for name in ("hook.json", "endpoints.json"):
            remove(self.path(name))
        request = {
            "folder": self._folder,
            "debugpy": os.path.dirname(debugpy),
            "python": list(sys.version_info[:2]),
        }
        question = self.path("hook.py")
        with open(question + ".part", "w", encoding="utf-8") as stream:
            stream.write("%s\nenter(%r)\n" % (source, request))
        os.replace(question + ".part", question)
        try:
            self._signal()
            self._await_taken(question, limit_s)
        finally:
            remove(question)  # what comes too late finds nothing
        return self._await_answer()

    def _signal(self) -> None:
        """Only who catches it gets it: it would end any other program."""
        if not catches(self._pid, self._number):
            raise Closed(
                "process %d no longer is what was started: it has replaced itself"
                % self._pid
            )
        os.kill(self._pid, self._number)

    def _await_taken(self, question: str, limit_s: float) -> None:
        until = time.monotonic() + limit_s
        while os.path.exists(question):
            self._still_runs()
            if time.monotonic() > until and remove(question):
                raise Failed(
                    "process %d does not come by to let the debugger in (%.0f s): its "
                    "main thread is in one long call" % (self._pid, limit_s)
                )
            time.sleep(_LOOK_S)

    def _await_answer(self) -> int:
        until = time.monotonic() + _ENTER_S
        while not (answer := self._answer()):
            self._still_runs()
            if time.monotonic() > until:
                raise Failed("debugpy does not start in process %d" % self._pid)
            time.sleep(_LOOK_S)
        if "failed" in answer:
            raise Failed(
                "debugpy did not get into process %d: %s"
                % (self._pid, answer["failed"])
            )
        return int(answer["port"])

    def _still_runs(self) -> None:
        if not catches(self._pid, self._number):
            raise Failed("process %d ended meanwhile" % self._pid)


def way_into(pid: int, runs: str) -> "Optional[Way]":
    """The hook of the run whose process it is, below the folder `runs`; None: it is
    none of our runs. Closed."""
    try:
        names = os.listdir(runs)
    except OSError:
        return None
    for name in names:
        folder = os.path.join(runs, name)
        noted = process_of(os.path.join(folder, "spec.json"))
        if not noted or not is_locked(os.path.join(folder, "lock")):
            continue
        own, number = record(os.path.join(folder, "hook"))
        if pid in (noted, own) and (not own or is_of(own, noted)):
            if not number:
                raise Closed(reason(os.path.join(folder, "hook"), pid))
            return Way(os.path.abspath(folder), own, number)
    return None


def reason(hook: str, pid: int) -> str:
    if os.path.exists(hook):
        return "process %d handles the signal by which we ask to come in itself" % pid
    return "process %d was started without our hook" % pid


def process_of(spec: str) -> int:
    """The process that was started, 0 if that is not known (yet)."""
    try:
        with open(spec, encoding="utf-8") as stream:
            return int(json.load(stream)["pid"])
    except (OSError, ValueError, LookupError):
        return 0


def record(path: str) -> "Tuple[int, int]":
    """The process that has the hook, and its signal; zeros if there is none."""
    try:
        with open(path, encoding="ascii") as stream:
            own, number = stream.read().split()
            return int(own), int(number)
    except (OSError, ValueError):
        return 0, 0


def is_of(own: int, started: int) -> bool:
    """`python` may be a script that starts Python."""
    try:
        return own == started or os.getsid(own) == started
    except OSError:
        return False


def is_locked(path: str) -> bool:
    """Whether a keeper is alive, so that the numbers of processes are still theirs."""
    try:
        lock = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler for that signal."""
    try:
        with open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as lines:
            rows = dict(line.split(":", 1) for line in lines if ":" in line)
        return bool(int(rows["SigCgt"], 16) >> (number - 1) & 1)
    except (OSError, ValueError, LookupError):
        return False


def remove(path: str) -> bool:
    """Whether it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def attach(
    pid: int,
    runs: str,
    source: str,
    *,
    find_debugpy: "Callable[[], str]",
    is_listening: "Callable[[int], bool]",
    end_adapter: "Callable[[str], None]",
) -> "Optional[int]":
    """The port of 127.0.0.1; None if the process is none of our runs. Closed, Failed,
    and what `find_debugpy` raises."""
    way = way_into(pid, runs)
    if way is None:
        return None
    with open(way.path("hook"), "rb") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # two at once would start it twice
        port = way.port()
        if not port:
            try:
                return way.ask(source, find_debugpy())
            except Failed:
                # It would wait for ever for a program that was killed just now.
                end_adapter(way.path("endpoints.json"))
                raise
        if not is_listening(port):
            raise Failed(
                "debugpy in process %d was ended; it starts only once in a program"
                % pid
            )
        return port


# --- the program ----------------------------------------------------------------------


def enter(request: "Json") -> None:
    """On a thread of Python's `threading`, as debugpy expects."""
    import threading

    threading.Thread(
        target=_enter, args=(request,), name="devsync-debugger", daemon=True
    ).start()


def _enter(request: "Json") -> None:
    try:
        answer: Json = {"port": _listen(request)}
    except BaseException as exc:  # noqa: BLE001 - whoever asked is told
        answer = {"failed": "%s: %s" % (type(exc).__name__, exc)}
    path = os.path.join(request["folder"], "hook.json")
    try:
        with open(path + ".part", "w", encoding="utf-8") as stream:
            json.dump(answer, stream)
        os.replace(path + ".part", path)
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise


def _listen(request: "Json") -> int:
    """debugpy's port, once all threads of the program are traced."""
    if list(sys.version_info[:2]) != request["python"]:
        raise RuntimeError("it runs in Python %d.%d" % sys.version_info[:2])
    more = {
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else it warns, on stderr
        "DEBUGPY_ADAPTER_ENDPOINTS": os.path.join(request["folder"], "endpoints.json"),
    }
    before = {name: os.environ.get(name) for name in more}
    is_new = request["debugpy"] not in sys.path
    os.environ.update(more)
    if is_new:
        sys.path.append(request["debugpy"])
    try:
        import debugpy

        debugpy.configure(subProcess=False)
        port: int = debugpy.listen(("127.0.0.1", 0))[1]
        spare_children()
        return port
    finally:
        if is_new:
            sys.path.remove(request["debugpy"])
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
