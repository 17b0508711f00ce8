"""An archive that is unpacked on the VM: looked at here first, followed from here."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from ...agent import archives, wire
from ...core.events import Progress
from ...errors import PushError
from . import pieces
from .listing import Source
from .order import Order
from .sending import Large, about

_POLL_S = 0.2

Ask = Callable[..., dict[str, Any]]


def size_unpacked(local: Path) -> int:
    """Bytes it needs on the VM at least. PushError if it is no archive, or one that
    must not be unpacked: better now than after an hour of sending."""
    if local.is_dir():
        raise PushError(
            f"{local} is a folder, not an archive.",
            "Without --unpack, folders are pushed as they are.",
        )
    try:
        with open(local, "rb") as stream:
            size, objection = archives.estimate(stream)
    except OSError as exc:
        raise PushError(
            f"{local} cannot be read: {exc.strerror}.", "Look at its permissions."
        ) from exc
    if objection:
        raise PushError(
            f"{local} cannot be unpacked: {objection}.",
            "--unpack takes zip, tar, tar.gz, tar.bz2 and tar.xz.",
        )
    return size


class Unpacker:
    """`ask`: one step of a push on the VM."""

    def __init__(self, ask: Ask, order: Order) -> None:
        self._ask = ask
        self._order = order

    def run(self, base: str, source: Source, large: Large | None) -> dict[str, Any]:
        """Returns what was unpacked. `large`: the archive is there in pieces only.
        PushError, LinkLost; CancelledError."""
        self._ask(
            "unpack",
            base=base,
            entry=_entry(source, large),
            source=about(source) if large is not None else "",
        )
        while True:
            state = self._ask("unpacked", base=base, path=source.path)
            self._order.progress(
                Progress(
                    "unpacking",
                    state["files"] + state["same"],
                    state["files"] + state["same"],
                    state["done"],
                    state["total"],
                )
            )
            if state["over"]:
                return self._ended(base, state)
            if self._order.cancel.wait(_POLL_S):
                raise CancelledError

    def _ended(self, base: str, state: dict[str, Any]) -> dict[str, Any]:
        if state["failure"]:
            self._ask("done", base=base)
            raise PushError(
                f"{self._order.spec.local.name} could not be unpacked in {base} on "
                f"the VM: {state['failure']}.",
                _after(state["replaced"], is_kept=state["kept"]),
            )
        return {key: state[key] for key in ("files", "bytes", "same", "skipped")}


def _after(replaced: int, *, is_kept: bool) -> str:
    """What is there now, and what to do."""
    hint = "What was there before is there still."
    if replaced:
        files = "1 file" if replaced == 1 else f"{replaced} files"
        hint = (
            "What it had added was taken away again; but it had replaced "
            f"{files} already, and these are the archive's now."
        )
    if is_kept:
        hint += " Push again when that is solved: the archive need not be sent again."
    return hint


def _entry(source: Source, large: Large | None) -> list[Any]:
    """As agent/deposit.py has it."""
    found = pieces.digest(large.arrived) if large is not None else ""
    facts = (source.size, source.executable, source.mtime_ns)
    return [source.path, wire.FILE, found, *facts]
