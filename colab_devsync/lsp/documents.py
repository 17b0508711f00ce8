"""Documents opened, changed, saved; files changed on disk. On the loop.

Plain functions that only hand on: pygls keeps a record of every coroutine handler.
"""

from __future__ import annotations

from pathlib import Path

from lsprotocol import types
from pygls import uris

from ..core.config import CONFIG_NAME
from .server import DevsyncServer


def register(server: DevsyncServer) -> None:
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(did_open)
    server.feature(types.TEXT_DOCUMENT_DID_CHANGE)(did_change)
    server.feature(types.TEXT_DOCUMENT_DID_SAVE, types.SaveOptions(include_text=False))(
        did_save
    )
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(did_close)
    server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)(files_changed)


def did_open(ls: DevsyncServer, params: types.DidOpenTextDocumentParams) -> None:
    _check_buffer(ls, params.text_document.uri)


def did_change(ls: DevsyncServer, params: types.DidChangeTextDocumentParams) -> None:
    _check_buffer(ls, params.text_document.uri)


def did_save(ls: DevsyncServer, params: types.DidSaveTextDocumentParams) -> None:
    path = _path(params.text_document.uri)
    if path is None:
        return
    ls.folders.saved(path)
    if path.name == CONFIG_NAME:
        _config_changed(ls, path)


def did_close(ls: DevsyncServer, params: types.DidCloseTextDocumentParams) -> None:
    path = _path(params.text_document.uri)
    if path is not None and path.name == CONFIG_NAME:
        ls.diagnostics.check_file(path)  # what was typed and not saved is gone


def files_changed(ls: DevsyncServer, params: types.DidChangeWatchedFilesParams) -> None:
    for change in params.changes:
        path = _path(change.uri)
        if path is not None and path.name == CONFIG_NAME:
            _config_changed(ls, path)


def _config_changed(ls: DevsyncServer, path: Path) -> None:
    ls.diagnostics.check_file(path)
    ls.folders.config_saved(path.parent)


def _check_buffer(ls: DevsyncServer, uri: str) -> None:
    path = _path(uri)
    if path is not None and path.name == CONFIG_NAME:
        document = ls.workspace.get_text_document(uri)
        ls.diagnostics.check_text(uri, document.source)


def _path(uri: str) -> Path | None:
    path = uris.to_fs_path(uri)
    return Path(path) if path else None
