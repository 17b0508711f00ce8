"""Follows one run's files and sends them down a stream, to the end.

One thread reads and sends; a second takes the client's acknowledgements. Nothing is
kept in memory but the piece that is being sent: the files are the buffer.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import BinaryIO, Callable, Dict, List, Optional

assert sys.platform != "win32"  # runs on the VM only

from . import wire
from .pacing import Window
from .runs import NoRun, NotStarted, Run, Runs

_EAGER_S, _FIRST_S = 0.001, 1.0  # between looks for the first output, and for how long
_FLOWING_S = 0.01  # between looks while output comes
_SILENT_S = 0.05
_EASING = 1.3
_AROUND_S = 0.02  # between looks at how the run stands
_KEPT_S = 1.0  # between looks whether its keeper lives
_HANG_UP_S = 10.0  # for the client to take the end and hang up

Send = Callable[[wire.Meta, bytes], None]
STREAMS = {1: "stdout", 2: "stderr"}


def follow(runs: Runs, ask: wire.Meta, reader: BinaryIO, send: Send) -> None:
    """Starts a run, or finds one, and tells what it prints."""
    is_new = ask["op"] == "run"
    try:
        run = runs.start(ask) if is_new else runs.get(ask.get("run"))
        info = run.info()
        tail = Tail(run, ask, send)
    except NotStarted as exc:
        send({"op": "failed", "message": str(exc)}, b"")
        return
    except NoRun as exc:
        send({"op": "failed", "message": str(exc), "unknown": True}, b"")
        return
    send({"op": "started", "run": info}, b"")
    if is_new:
        runs.prune()
    tail.serve(reader)


class _Source:
    """One of the two files, and how far it has been sent."""

    def __init__(self, run: Run, number: int, offset: int) -> None:
        self.number = number
        self.offset = offset
        self._fd = os.open(run.path(STREAMS[number]), os.O_RDONLY)
        self.end: Optional[int] = None  # known once the run has ended

    def read(self, size: int) -> bytes:
        if self.end is not None:
            size = min(size, self.end - self.offset)
        return os.pread(self._fd, size, self.offset) if size > 0 else b""

    def fix_end(self) -> None:
        """What comes later is not the run's (a grandchild's, perhaps)."""
        self.end = os.fstat(self._fd).st_size

    def close(self) -> None:
        os.close(self._fd)


class Tail:
    """`serve` runs on the stream's own thread."""

    def __init__(self, run: Run, request: wire.Meta, send: Send) -> None:
        """NoRun if its files are gone."""
        self._run = run
        self._send = send
        self._follow = bool(request.get("follow", True))
        self._waits_for_port = bool(run.read("spec.json").get("wait_port"))
        self._looked_at = self._kept_at = 0.0
        self._changed = threading.Condition()  # guards what follows
        self._window = Window()
        self._is_closed = False
        offsets: Dict[str, int] = request.get("offsets") or {}
        self._sources: List[_Source] = []
        try:
            for number, name in STREAMS.items():
                offset = max(0, int(offsets.get(name) or 0))
                self._sources.append(_Source(run, number, offset))
        except FileNotFoundError as exc:
            self._close()
            raise NoRun("no run %s on the VM" % run.id) from exc

    def serve(self, reader: BinaryIO) -> None:
        """To the end of the run, or until the client hangs up."""
        threading.Thread(
            target=self._listen, args=(reader,), name="devsync-run-acks", daemon=True
        ).start()
        try:
            self._follow_run()
        except (OSError, NoRun):
            pass  # the stream is gone, and the run goes on; or its files were removed
        finally:
            self._close()

    def _close(self) -> None:
        for source in self._sources:
            source.close()

    # --- the client ---------------------------------------------------------------

    def _listen(self, reader: BinaryIO) -> None:
        try:
            for frame in iter(lambda: wire.read_frame(reader), None):
                if frame.meta.get("op") == "ack":
                    with self._changed:
                        size = int(frame.meta["bytes"])
                        self._window.acked(size, time.monotonic())
                        self._changed.notify_all()
        except (OSError, wire.WireError, ValueError, LookupError):
            pass
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _wait(self, seconds: float, until: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or until(), seconds)

    # --- the files ----------------------------------------------------------------

    def _follow_run(self) -> None:
        pause = _EAGER_S
        eager_until = time.monotonic() + _FIRST_S
        while not self._is_closed:
            self._look_around()
            has_ended = self._sources[0].end is not None
            if self._send_new():
                pause = _FLOWING_S
                eager_until = 0.0
            elif has_ended and self._is_complete():
                self._send_exit()
                return
            elif self._room():
                self._wait(pause, lambda: False)
                if time.monotonic() > eager_until:
                    pause = min(_SILENT_S, pause * _EASING)
            else:
                self._wait_for_room()

    def _room(self) -> int:
        return self._window.room(time.monotonic())

    def _wait_for_room(self) -> None:
        pause = self._window.pause_s(time.monotonic())
        self._wait(min(_SILENT_S, pause), lambda: self._room() > 0)

    def _is_complete(self) -> bool:
        return all(one.offset >= (one.end or 0) for one in self._sources)

    def _send_exit(self) -> None:
        self._tell_port()
        info = self._run.info()
        for source in self._sources:
            info[STREAMS[source.number]] = source.end
        self._send({"op": "exit", "run": info}, b"")
        # Hanging up on a client that still acknowledges could cost it the end.
        self._wait(_HANG_UP_S, lambda: False)

    def _look_around(self) -> None:
        """Is its port known, has it ended? Asked before reading to the end."""
        now = time.monotonic()
        if now - self._looked_at < _AROUND_S and self._looked_at:
            return
        self._looked_at = now
        self._tell_port()
        if self._sources[0].end is None and (not self._follow or self._has_ended(now)):
            for source in self._sources:
                source.fix_end()

    def _has_ended(self, now: float) -> bool:
        if os.path.exists(self._run.path("status.json")):
            return True
        if now - self._kept_at < _KEPT_S:
            return False
        self._kept_at = now
        return not self._run.is_kept()

    def _send_new(self) -> bool:
        """One piece of each stream, as the window allows; whether there was any."""
        found = False
        for source in self._sources:
            data = source.read(self._room())
            if not data:
                continue
            found = True
            with self._changed:
                self._window.sent(len(data), time.monotonic())
            meta = {"op": "output", "stream": source.number, "offset": source.offset}
            self._send(meta, data)
            source.offset += len(data)
        return found

    def _tell_port(self) -> None:
        if not self._waits_for_port:
            return
        found = self._run.read("port.json")
        if found.get("port"):
            self._send({"op": "ready", "port": found["port"]}, b"")
        elif found:
            self._send({"op": "unready", "message": found.get("message")}, b"")
        self._waits_for_port = not found
