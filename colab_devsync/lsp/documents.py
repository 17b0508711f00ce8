"""Documents opened, changed, saved; files changed on disk. On the loop.

Plain functions that only hand on: pygls keeps a record of every coroutine handler.
"""

from __future__ import annotations

from lsprotocol import types

from .server import DevsyncServer
from .texts import is_config, is_python, path_of


def register(server: DevsyncServer) -> None:
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(did_open)
    server.feature(types.TEXT_DOCUMENT_DID_CHANGE)(did_change)
    server.feature(types.TEXT_DOCUMENT_DID_SAVE, types.SaveOptions(include_text=False))(
        did_save
    )
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(did_close)
    server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)(files_changed)


def did_open(ls: DevsyncServer, params: types.DidOpenTextDocumentParams) -> None:
    uri = params.text_document.uri
    path = path_of(uri)
    ls.diagnostics.opened(uri)
    if path is not None and is_config(uri):
        ls.diagnostics.check_text(uri, params.text_document.text)
    elif path is not None and is_python(uri):
        ls.modules.look(path)
    ls.diagnostics.look_for_files()


def did_change(ls: DevsyncServer, params: types.DidChangeTextDocumentParams) -> None:
    if is_config(params.text_document.uri):
        ls.diagnostics.check_soon(params.text_document.uri)


def did_save(ls: DevsyncServer, params: types.DidSaveTextDocumentParams) -> None:
    uri = params.text_document.uri
    path = path_of(uri)
    if path is None:
        return
    ls.folders.saved(path)
    if is_config(uri):
        ls.diagnostics.check_file(path)
        ls.folders.config_saved(path.parent)
    elif is_python(uri):
        ls.modules.look(path)
    ls.diagnostics.look_for_files()


def did_close(ls: DevsyncServer, params: types.DidCloseTextDocumentParams) -> None:
    uri = params.text_document.uri
    path = path_of(uri)
    if path is not None and is_config(uri):
        ls.diagnostics.check_file(path)  # what was typed and not saved is gone
    elif path is not None and is_python(uri):
        ls.modules.closed(path, uri)


def files_changed(ls: DevsyncServer, params: types.DidChangeWatchedFilesParams) -> None:
    for change in params.changes:
        path = path_of(change.uri)
        if path is not None and is_config(change.uri):
            ls.diagnostics.file_changed(path)
            ls.folders.config_saved(path.parent)
