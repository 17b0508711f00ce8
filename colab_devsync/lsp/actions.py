"""Code actions: corrections, decisions, installs, every command. On the loop; cheap.

An editor asks at each move of the cursor. Everything is complete in the answer, so a
client need not resolve; one that takes no literals gets the commands alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from lsprotocol import types

from . import command_actions, config_actions
from .commands import COMMANDS
from .diagnostics import CONFLICT, SOURCE
from .module_hints import NOT_INSTALLED, packages_for
from .positions import touches
from .server import DevsyncServer
from .texts import is_config, is_python, path_of

Action = types.CodeAction
_QUICK = types.CodeActionKind.QuickFix


def register(server: DevsyncServer) -> None:
    kinds = [_QUICK, types.CodeActionKind.RefactorRewrite, command_actions.KIND]
    options = types.CodeActionOptions(code_action_kinds=kinds, resolve_provider=False)
    server.feature(types.TEXT_DOCUMENT_CODE_ACTION, options)(code_actions)


def code_actions(
    ls: DevsyncServer, params: types.CodeActionParams
) -> Sequence[types.CodeAction | types.Command]:
    path = path_of(params.text_document.uri)
    if path is None:
        return []
    found = _wanted(params.context.only, _found(ls, params, path))
    if not _takes_literals(ls):
        return [one.command for one in found if one.command is not None]
    return found


def _found(
    ls: DevsyncServer, params: types.CodeActionParams, path: Path
) -> Iterator[Action]:
    """Corrections first: some editors show only twenty."""
    uri = params.text_document.uri
    given = _of_ours(ls, params)
    yield from _each(given, CONFLICT, lambda one: _decisions(ls, path, one))
    yield from _installs(ls, path, given, ls.diagnostics.shown(uri))
    if is_config(uri):
        yield from config_actions.actions(ls, params, path)
    if is_config(uri) or is_python(uri):
        yield from _commands(ls, path)


def _of_ours(
    ls: DevsyncServer, params: types.CodeActionParams
) -> list[types.Diagnostic]:
    """What the client says it is about; else what stands in the range."""
    given = [one for one in params.context.diagnostics if one.source == SOURCE]
    if given:
        return given
    shown = ls.diagnostics.shown(params.text_document.uri)
    return [one for one in shown if touches(one.range, params.range)]


def _each(
    diagnostics: Iterable[types.Diagnostic],
    code: str,
    make: Callable[[types.Diagnostic], list[Action]],
) -> Iterator[Action]:
    for one in diagnostics:
        if one.code == code:
            yield from make(one)


def _decisions(
    ls: DevsyncServer, path: Path, diagnostic: types.Diagnostic
) -> list[Action]:
    found = ls.folders.relative(path)
    if found is None:
        return []
    about = {"folder": str(found[0]), "path": found[1]}
    return [
        _quick(ls, title, name, {**about, **more}, [diagnostic])
        for title, name, more in (
            ("Keep my version", "devsync.resolve", {"keep": "local"}),
            ("Take the VM's version", "devsync.resolve", {"keep": "remote"}),
            ("Compare with the VM's version", "devsync.compare", {}),
        )
    ]


def _installs(
    ls: DevsyncServer,
    path: Path,
    given: Sequence[types.Diagnostic],
    shown: Sequence[types.Diagnostic],
) -> Iterator[Action]:
    found = ls.folders.relative(path)
    here = packages_for(given)
    if found is None or not here:
        return
    folder = str(found[0])
    for package in here:
        about = [one for one in given if package in packages_for([one])]
        title = f"Install {package} on the VM (pip install {package})"
        arguments = {"folder": folder, "packages": [package]}
        yield _quick(ls, title, "devsync.install", arguments, about)
    everything = packages_for(shown)
    if len(everything) > 1:
        title = f"Install {len(everything)} on the VM (pip install"
        title += f" {' '.join(everything)})"
        about = [one for one in given if one.code == NOT_INSTALLED]
        arguments = {"folder": folder, "packages": list(everything)}
        yield _quick(ls, title, "devsync.install", arguments, about)


def _quick(
    ls: DevsyncServer,
    title: str,
    name: str,
    arguments: command_actions.Arguments,
    diagnostics: list[types.Diagnostic],
) -> Action:
    command = command_actions.command(ls, title, name, arguments)
    return Action(title=title, kind=_QUICK, diagnostics=diagnostics, command=command)


def _commands(ls: DevsyncServer, path: Path) -> Iterator[Action]:
    root = ls.folders.root_around(path)
    if root is None:
        return
    project = ls.folders.known(path)
    config = project.session.glance.config if project is not None else None
    is_program = path.suffix == ".py" and path.is_relative_to(root)
    scene = command_actions.Scene(
        root=root,
        file=path.relative_to(root).as_posix() if is_program else None,
        status=project.session.status() if project is not None else None,
        forwards=config.forward if config is not None else (),
        client=ls.options.client,
    )
    for offer in command_actions.offers(COMMANDS, scene):
        yield command_actions.code_action(ls, offer)


def _wanted(
    only: Sequence[types.CodeActionKind | str] | None, found: Iterable[Action]
) -> list[Action]:
    """Those of the kinds that were asked for, or of kinds below them."""
    if not only:
        return list(found)
    kinds = [str(getattr(one, "value", one)) for one in only]
    return [one for one in found if any(_is_of(one, kind) for kind in kinds)]


def _is_of(action: Action, kind: str) -> bool:
    own = str(getattr(action.kind, "value", action.kind))
    return not kind or own == kind or own.startswith(kind + ".")


def _takes_literals(ls: DevsyncServer) -> bool:
    document = ls.client_capabilities.text_document
    action = document.code_action if document else None
    # Old clients that say nothing at all are rare; the tests of editors say nothing.
    return action is None or action.code_action_literal_support is not None
