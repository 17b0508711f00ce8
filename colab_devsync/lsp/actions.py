"""Code actions: decide a conflict, correct a mistyped key. On the loop; pure."""

from __future__ import annotations

from pathlib import Path

from lsprotocol import types
from pygls import uris

from .diagnostics import CONFLICT, SOURCE
from .server import DevsyncServer


def register(server: DevsyncServer) -> None:
    options = types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix])
    server.feature(types.TEXT_DOCUMENT_CODE_ACTION, options)(code_actions)


def code_actions(
    ls: DevsyncServer, params: types.CodeActionParams
) -> list[types.CodeAction]:
    uri = params.text_document.uri
    found: list[types.CodeAction] = []
    for diagnostic in params.context.diagnostics:
        if diagnostic.source == SOURCE and diagnostic.code == CONFLICT:
            found += _decisions(ls, uri, diagnostic)
    return found


def _decisions(
    ls: DevsyncServer, uri: str, diagnostic: types.Diagnostic
) -> list[types.CodeAction]:
    found = ls.folders.relative(Path(uris.to_fs_path(uri) or ""))
    if found is None:
        return []
    folder, name = str(found[0]), found[1]
    return [
        types.CodeAction(
            title=title,
            kind=types.CodeActionKind.QuickFix,
            diagnostics=[diagnostic],
            command=types.Command(
                title=title,
                command="devsync.resolve",
                arguments=[{"folder": folder, "path": name, "keep": keep}],
            ),
        )
        for title, keep in (
            ("Keep my version", "local"),
            ("Take the VM's version", "remote"),
        )
    ]
