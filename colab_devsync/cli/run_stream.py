"""What a run prints, on this terminal, to its end. On the main thread.

Bytes as they are, stdout and stderr apart. ctrl-C is counted here and acted on between
two messages, so that no output is lost half-way.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from types import FrameType
from typing import Any

from ..daemon.client import DaemonGone, RemoteFailure
from ..errors import DevsyncError, LinkError
from . import output
from .progress import Bar
from .settings import Settings
from .talk import Talk

_LAST_WORDS = 1000  # characters

Write = Callable[[Mapping[str, Any]], None]


class RunStream:
    """Takes a connection's notifications; `follow` is for one run after the other."""

    def __init__(self, settings: Settings) -> None:
        self.bar = Bar(settings)
        self.write: Write = self._write_json if settings.json else _write_bytes
        self._talks = sys.stderr.isatty() and not settings.json
        self._run = ""
        self._link = ""
        self._errors = ""  # the end of its stderr, as far as it was shown
        self._last: dict[str, Any] | None = None
        self._ended: Future[dict[str, Any]] = Future()

    def note(self, text: str) -> None:
        """For a person at a terminal only."""
        if self._talks:
            output.note(text)

    def notified(self, method: str, params: Any) -> None:
        if method == "colabDevsync/output":
            self.bar.stop()
            self.write(params)
            if params["stream"] == "stderr":
                self._errors = (self._errors + params["text"])[-_LAST_WORDS:]
        elif method == "colabDevsync/run" and params.get("attached") is False:
            self._last = params
            with contextlib.suppress(InvalidStateError):
                self._ended.set_result(params)
        elif method == "colabDevsync/status":
            self._say_link(params["link"])
        else:
            self.bar.notified(method, params)

    def has_shown(self, message: str) -> bool:
        """Whether it stands at the end of the run's stderr: the VM writes some of what
        it tells of a run there too, for who reads its log."""
        return message in self._errors

    def follow(
        self, talk: Talk, run: str, *, on_wake: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        """Until all output is here: the run's last state. RemoteFailure."""
        self._run = run
        ended = self._ended

        def gone(_: Future[None]) -> None:
            error = DaemonGone(
                f"The colab-devsync daemon ended; {run} goes on on the VM.",
                f"`colab-devsync attach {run}` starts it again and shows the output.",
            )
            with contextlib.suppress(InvalidStateError):
                ended.set_exception(error)

        talk.client.closed.add_done_callback(gone)
        last: dict[str, Any] = talk.client.run_until(ended, on_wake=on_wake)
        self._ended = Future()
        self._run = ""
        if "error" in last:
            raise _cut_off(run, last["error"])
        return last

    def _say_link(self, link: str) -> None:
        before, self._link = self._link, link
        if not self._run or before == link:
            return
        if before == "online":
            self.note(f"link lost; {self._run} goes on; waiting for it to come back")
        elif link == "online" and before:
            self.note("link is back")

    def _write_json(self, params: Mapping[str, Any]) -> None:
        output.json_line(params)


def _write_bytes(params: Mapping[str, Any]) -> None:
    stream = sys.stderr if params["stream"] == "stderr" else sys.stdout
    stream.buffer.write(params["text"].encode("utf-8", "surrogateescape"))
    stream.buffer.flush()


def _cut_off(run: str, body: Mapping[str, Any]) -> DevsyncError:
    if body.get("exitCode") != LinkError.exit_code:
        return RemoteFailure(dict(body))
    more = f"`colab-devsync attach {run}` shows the rest."
    return RemoteFailure({**body, "hint": f"{body.get('hint', '')} {more}".strip()})


def exit_code(last: Mapping[str, Any]) -> int:
    """The program's own. LinkError if nobody will ever know it."""
    if last["state"] == "lost":
        why = str(last.get("message") or "its VM is gone").partition(";")[0]
        raise LinkError(
            f"Run {last['run']} was lost: {why}.", "Start it again on the new VM."
        )
    return int(last.get("exitCode") or 0)


class Interrupts:
    """The first ctrl-C does the first of `steps`, the next one the next; after them
    it is a KeyboardInterrupt again."""

    def __init__(self, talk: Talk, steps: Sequence[Callable[[], None]]) -> None:
        self._talk = talk
        self._steps = steps
        self._count = 0
        self._done = 0

    def __enter__(self) -> Interrupts:
        self._before = signal.signal(signal.SIGINT, self._count_one)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def count(self) -> None:
        """One more ctrl-C."""
        self._count += 1

    def act(self) -> None:
        while self._done < min(self._count, len(self._steps)):
            self._done += 1
            self._steps[self._done - 1]()

    def _count_one(self, _number: int, _frame: FrameType | None) -> None:
        if self._count >= len(self._steps):
            raise KeyboardInterrupt
        self.count()
        self._talk.client.wake()
