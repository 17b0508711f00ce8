"""What the Python of a run executes before the program, so that a debugger can be let
in later: our `sitecustomize`, in a folder that PYTHONPATH names first (`hooks.py`).

It takes out all traces of that, hands over to the sitecustomize that would have been
found without it, and has one real-time signal start what then stands in the run's
folder (`letting_in.py`). Every run waits for it: half a millisecond is too long.
"""

# Nothing is imported but what is there already; `__future__` would not be.
import os
import sys

RUN = "COLAB_DEVSYNC_RUN"  # names the run's folder
BEFORE = "COLAB_DEVSYNC_PYTHONPATH"  # PYTHONPATH without us; not set if there was none
RECORD = "hook"  # in the run's folder: process and signal; empty once that is not ours
REQUEST = "hook.py"  # there: what the signal starts
_ABOVE = 7  # the first real-time signal


class Hook:
    """Handles the signal for the process that made it, not for those it forks."""

    def __init__(self, folder: str, number: int) -> None:
        self._pid = os.getpid()
        self._folder = folder
        self._write(b"%d %d" % (self._pid, number))

    def _write(self, text: bytes) -> None:
        record = os.open(
            os.path.join(self._folder, RECORD),
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
            0o600,
        )
        try:
            os.write(record, text)
        finally:
            os.close(record)

    def __call__(self, number: int, frame: object) -> None:
        """Between any two steps of the program, which may hold any lock: so the work
        is for a thread of its own."""
        if os.getpid() != self._pid:
            return
        try:
            import _thread
            import threading  # noqa: F401 - the first to do so becomes its main thread

            _thread.start_new_thread(self._open, ())
        except Exception:  # noqa: BLE001
            pass  # who asked notices; the program must not

    def _open(self) -> None:
        request = os.path.join(self._folder, REQUEST)
        taken = request + ".taken"
        try:
            os.rename(request, taken)
            with open(taken, "rb") as stream:
                source = stream.read()
            os.unlink(taken)
        except OSError:
            return  # nobody waits any more
        exec(compile(source, "<colab-devsync>/agent/letting_in.py", "exec"), {})

    def __del__(self) -> None:
        """The program took the signal for itself, or ends."""
        try:
            if os.getpid() == self._pid:
                self._write(b"")
        except Exception:  # noqa: BLE001
            pass  # half of Python is gone by now, or the folder is


def main() -> None:
    folder = os.environ.pop(RUN, "")
    before = os.environ.pop(BEFORE, None)
    own = os.path.dirname(__file__)
    if own in sys.path:
        sys.path.remove(own)
    sys.path_importer_cache.pop(own, None)
    if not folder:
        return
    if before is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = before
    install(folder)


def install(folder: str) -> None:
    signals = sys.modules.get("_signal")  # `signal` itself is slow to import
    first = getattr(signals, "SIGRTMIN", None)  # macOS has none
    if signals is None or first is None:
        return
    number = first + _ABOVE
    if signals.getsignal(number) == signals.SIG_DFL:
        signals.signal(number, Hook(folder, number))


if __name__ == "sitecustomize":
    try:
        main()
    except Exception:  # noqa: BLE001
        pass  # the program is what matters
    del sys.modules["sitecustomize"]
    __import__("sitecustomize")  # what it raises is raised as without us
