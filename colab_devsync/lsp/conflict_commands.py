"""`devsync.compare`: both versions of a file in conflict. On the loop.

Editors with an extension of ours open their own comparison of the two files; others
(`show: true`) are shown a unified diff.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from lsprotocol import types
from pygls import uris

from ..errors import SyncError
from . import showing
from .arguments import Key
from .bridge import in_thread
from .command import FOLDER, Answer, Arguments, Command
from .server import DevsyncServer

_LARGEST = 4_000_000  # bytes of either version; difflib is slow
_TOP = types.Range(types.Position(0, 0), types.Position(0, 0))


def compare(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    found = [one for one in project.session.conflicts() if one.path == args["path"]]
    if not found:
        raise SyncError(
            f"There is no conflict about {args['path']!r}.",
            "See `colab-devsync conflicts`.",
        )
    if found[0].remote_copy is None:
        raise SyncError(
            f"The VM's version of {args['path']} was not fetched: it is deleted there, "
            "or too large.",
        )
    local, remote = project.root / found[0].path, Path(found[0].remote_copy)
    if args["show"]:
        ls.spawn(_show(ls, local, remote))
    return {"local": str(local), "remote": str(remote)}


async def _show(ls: DevsyncServer, local: Path, remote: Path) -> None:
    page = await in_thread(lambda: write_diff(local, remote), "compare")
    # LSP4IJ fails without a selection.
    params = types.ShowDocumentParams(
        uri=uris.from_fs_path(str(page)) or "",
        external=False,
        take_focus=True,
        selection=_TOP,
    )
    if showing.can_show_documents(ls) and await showing.show_document(ls, params):
        return
    text = f"What differs: {page}. The VM's version: {remote}."
    ls.tell(
        types.WINDOW_SHOW_MESSAGE, types.ShowMessageParams(types.MessageType.Info, text)
    )


def write_diff(local: Path, remote: Path) -> Path:
    """A diff beside the VM's version; that version itself where there can be none."""
    try:
        sizes = [one.stat().st_size for one in (local, remote)]
        if max(sizes) > _LARGEST:
            return remote
        ours, theirs = (one.read_text(encoding="utf-8") for one in (local, remote))
    except (OSError, UnicodeDecodeError):
        return remote  # deleted here, or no text
    lines = difflib.unified_diff(
        theirs.splitlines(keepends=True),
        ours.splitlines(keepends=True),
        f"on the VM: {local.name}",
        f"here: {local.name}",
    )
    page = remote.with_name(f"{remote.name}.diff")
    text = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    page.write_text(text, encoding="utf-8")
    return page


COMMANDS: Mapping[str, Command] = {
    "devsync.compare": Command({**FOLDER, "path": Key(str, required=True)}, run=compare)
}
