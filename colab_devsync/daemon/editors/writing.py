"""Puts an editor's files where they belong: planned first, then asked about, written.

Nothing that somebody else wrote is replaced. A file that is there is merged into where
that is safe, and left alone where it is not. Blocks; any thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ...engine.ports.replace_file import replace_file
from .model import CannotMerge, File
from .xml_tree import same_xml

State = Literal["planned", "written", "unchanged", "skipped"]


@dataclass(frozen=True)
class Step:
    """One file and what becomes of it. `old` is None where there is none."""

    file: File
    state: State
    old: str | None = None
    new: str = ""
    reason: str = ""

    @property
    def needs_consent(self) -> bool:
        """Changes something of the user's, or stands outside of the project."""
        if self.state != "planned" or self.file.is_ours:
            return False
        return self.old is not None or self.file.is_outside

    def as_json(self, *, with_text: bool) -> dict[str, Any]:
        body = {
            "path": str(self.file.path),
            "state": self.state,
            "what": self.file.what,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.state == "skipped":
            body["text"] = self.file.text  # what to put there by hand
        elif with_text and self.state != "unchanged":
            body["text"] = self.new
        return body


def plan(files: Iterable[File]) -> list[Step]:
    return [_plan_one(file) for file in files]


def refuse(steps: Iterable[Step], reason: str) -> list[Step]:
    """Leaves out what nobody has agreed to."""
    return [
        replace(one, state="skipped", reason=reason) if one.needs_consent else one
        for one in steps
    ]


def write(steps: Iterable[Step]) -> list[Step]:
    return [_write_one(one) if one.state == "planned" else one for one in steps]


def _plan_one(file: File) -> Step:
    try:
        old = _read(Path(file.path))
    except (OSError, UnicodeDecodeError) as exc:
        return Step(file, "skipped", reason=f"cannot be read: {exc}")
    if old is None:
        return Step(file, "planned", new=file.text)
    if file.is_ours:
        state: State = "unchanged" if old == file.text else "planned"
        return Step(file, state, old, file.text)
    if file.merge is None:
        if old == file.text or (
            file.path.suffix == ".xml" and same_xml(old, file.text)
        ):
            return Step(file, "unchanged", old)
        reason = "it is there and differs; delete it to have it written anew"
        return Step(file, "skipped", old, reason=reason)
    try:
        new = _merged(file, old)
    except CannotMerge as exc:
        return Step(file, "skipped", old, reason=f"it was left alone: {exc}")
    return Step(file, "unchanged" if new == old else "planned", old, new)


def _merged(file: File, old: str) -> str:
    """Line ends stay what they are."""
    assert file.merge is not None
    if "\r\n" not in old:
        return file.merge(old)
    new = file.merge(old.replace("\r\n", "\n"))
    merged = new.replace("\n", "\r\n")
    return old if merged.replace("\r\n", "\n") == old.replace("\r\n", "\n") else merged


def _write_one(step: Step) -> Step:
    path = Path(step.file.path)
    try:
        if _read(path) != step.old:
            return replace(step, state="skipped", reason="it has just been changed")
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, step.new, mode=0o644)
    except (OSError, UnicodeDecodeError) as exc:
        return replace(step, state="skipped", reason=f"cannot be written: {exc}")
    return replace(step, state="written")


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
