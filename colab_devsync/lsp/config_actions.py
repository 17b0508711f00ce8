"""Code actions in `.colabremote.toml`: corrections, a missing file, the host key.

On the loop. They are computed from the text as it is now, not from what a client
remembers of our diagnostics.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from lsprotocol import types
from pygls import uris

from ..core.config import check_config
from ..core.editing.fixes import Edit, Fix, fixes, pin_host_key, span_of
from ..core.editing.outline import outline
from .config_files import MISSING_FILE, absent
from .diagnostics import SOURCE
from .positions import TextMap, touches
from .server import DevsyncServer
from .texts import text_map

Action = types.CodeAction
_problems = lru_cache(maxsize=4)(check_config)  # asked at each move of the cursor


def actions(
    ls: DevsyncServer, params: types.CodeActionParams, path: Path
) -> Iterator[Action]:
    text = text_map(ls, params.text_document.uri)
    if text is None:
        return
    for problem in _problems(text.text):
        span = text.range(span_of(text.text, problem))
        if touches(span, params.range):
            for fix in fixes(text.text, problem):
                about = _about(params, problem.key, span)
                yield _edit(text, params, fix, about=about)
    yield from _create_files(ls, text, params)
    yield from _pin(ls, text, params, path)


def _about(
    params: types.CodeActionParams, code: str, span: types.Range
) -> list[types.Diagnostic]:
    """The client's own copies of what is corrected."""
    return [
        one
        for one in params.context.diagnostics
        if one.source == SOURCE and one.code == code and one.range == span
    ]


def _edit(
    text: TextMap,
    params: types.CodeActionParams,
    fix: Fix,
    *,
    about: list[types.Diagnostic] | None,
) -> Action:
    edits = [_text_edit(text, one) for one in fix.edits]
    return Action(
        title=fix.title,
        kind=types.CodeActionKind.QuickFix
        if about is not None
        else types.CodeActionKind.RefactorRewrite,
        diagnostics=about or None,
        is_preferred=fix.is_preferred or None,
        edit=types.WorkspaceEdit(changes={params.text_document.uri: edits}),
    )


def _text_edit(text: TextMap, edit: Edit) -> types.TextEdit:
    return types.TextEdit(text.range(edit.span), edit.text)


def _create_files(
    ls: DevsyncServer, text: TextMap, params: types.CodeActionParams
) -> Iterator[Action]:
    if not _can_create(ls):
        return
    for link, target in absent(text.text, params.text_document.uri):
        span = text.range(link.span)
        if link.key != "run.entry" or not touches(span, params.range):
            continue
        create = types.CreateFile(
            uri=uris.from_fs_path(str(target)) or "",
            options=types.CreateFileOptions(ignore_if_exists=True),
        )
        yield Action(
            title=f"Create {link.name}",
            kind=types.CodeActionKind.QuickFix,
            diagnostics=_about(params, MISSING_FILE, span) or None,
            edit=types.WorkspaceEdit(document_changes=[create]),
        )


def _can_create(ls: DevsyncServer) -> bool:
    workspace = ls.client_capabilities.workspace
    edit = workspace.workspace_edit if workspace else None
    if edit is None or not edit.document_changes:
        return False
    return types.ResourceOperationKind.Create in (edit.resource_operations or ())


def _pin(
    ls: DevsyncServer, text: TextMap, params: types.CodeActionParams, path: Path
) -> Iterator[Action]:
    """The key that this connection has proven, where the cursor is in `[link]`."""
    project = ls.folders.known(path)
    login = project.session.glance.login if project is not None else None
    if project is None or login is None:
        return
    header = outline(text.text).header_before(text.offset(params.range.start))
    if header is None or header.path[-1:] != ("link",):
        return
    fix = pin_host_key(text.text, fingerprint(login.host_key), project.profile)
    if fix is not None:
        yield _edit(text, params, fix, about=None)


def fingerprint(host_key: str) -> str:
    """`SHA256:…` of "ssh-ed25519 AAAA…", as `ssh-keygen -l` writes it."""
    blob = base64.b64decode(host_key.split()[1])
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"
