"""initialize, initialized, folders coming and going, shutdown. On the loop."""

from __future__ import annotations

import contextlib

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from ..core.config import CONFIG_NAME
from .server import ClientOptions, DevsyncServer
from .texts import path_of


def register(server: DevsyncServer) -> None:
    server.feature(types.INITIALIZE)(initialize)
    server.feature(types.INITIALIZED)(initialized)
    server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)(folders_changed)
    server.feature(types.WINDOW_WORK_DONE_PROGRESS_CANCEL)(cancel)
    server.feature(types.SHUTDOWN)(shutdown)


def initialize(ls: DevsyncServer, params: types.InitializeParams) -> None:
    ls.options = ClientOptions.of(params, ls.peer.profile)


def initialized(ls: DevsyncServer, _: types.InitializedParams) -> None:
    ls.spawn(_watch_config_files(ls))
    ls.folders.refresh()


def folders_changed(
    ls: DevsyncServer, params: types.DidChangeWorkspaceFoldersParams
) -> None:
    for folder in params.event.removed:
        path = path_of(folder.uri)
        if path is not None:
            ls.folders.removed(path)
    ls.folders.refresh()


def cancel(ls: DevsyncServer, params: types.WorkDoneProgressCancelParams) -> None:
    ls.jobs.cancel_token(params.token)


async def shutdown(ls: DevsyncServer, _: None = None) -> None:
    # pygls 2.1 fails in `shutdown` while a request is open; a job's end closes them.
    await ls.jobs.cancel_all()


async def _watch_config_files(ls: DevsyncServer) -> None:
    workspace = ls.client_capabilities.workspace
    watched = workspace.did_change_watched_files if workspace else None
    if watched is None or not watched.dynamic_registration:
        return
    watcher = types.FileSystemWatcher(glob_pattern=f"**/{CONFIG_NAME}")
    registration = types.Registration(
        id="colab-devsync-config",
        method=types.WORKSPACE_DID_CHANGE_WATCHED_FILES,
        register_options=types.DidChangeWatchedFilesRegistrationOptions([watcher]),
    )
    params = types.RegistrationParams([registration])
    with contextlib.suppress(JsonRpcException):  # didOpen and didSave still tell us
        await ls.client_register_capability_async(params)
