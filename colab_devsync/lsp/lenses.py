"""Code lenses above `if __name__ == "__main__":`. On the loop; cheap."""

from __future__ import annotations

from lsprotocol import types

from ..core.editing.guards import guard_lines
from . import command_actions
from .server import DevsyncServer
from .texts import is_python, path_of, source_of


def register(server: DevsyncServer) -> None:
    options = types.CodeLensOptions(resolve_provider=False)
    server.feature(types.TEXT_DOCUMENT_CODE_LENS, options)(code_lenses)


def code_lenses(
    ls: DevsyncServer, params: types.CodeLensParams
) -> list[types.CodeLens] | None:
    uri = params.text_document.uri
    path = path_of(uri)
    root = ls.folders.root_around(path) if path and is_python(uri) else None
    source = source_of(ls, uri) if root else None
    if source is None or path is None or root is None:
        return None
    found = []
    for line in guard_lines(source):
        start = types.Position(line, 0)
        for title, name in (("Run on Colab", "run"), ("Debug on Colab", "debug")):
            command = command_actions.command(
                ls, title, f"devsync.{name}", {"folder": str(root), "file": str(path)}
            )
            found.append(types.CodeLens(types.Range(start, start), command))
    return found
