"""Completion, hover and links of `.colabremote.toml`. On the loop.

What can be said is decided in `core/editing`; here it becomes LSP. Only what the VM is
asked for is waited for, and not for long.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls import uris

from ..core.editing.complete import Completion, Item, complete, value_items
from ..core.editing.hover import hover as about
from ..core.editing.links import file_links, header_spans
from ..core.editing.words import PAGE
from . import lookups
from .config_files import target_of
from .positions import TextMap
from .server import DevsyncServer
from .texts import is_config, path_of, text_map

_KINDS = {
    "table": types.CompletionItemKind.Module,
    "key": types.CompletionItemKind.Property,
    "value": types.CompletionItemKind.Value,
    "folder": types.CompletionItemKind.Folder,
}
_TRIGGERS = ["[", '"', "'", "/", "="]


def register(server: DevsyncServer) -> None:
    options = types.CompletionOptions(trigger_characters=_TRIGGERS)
    server.feature(types.TEXT_DOCUMENT_COMPLETION, options)(completion)
    server.feature(types.TEXT_DOCUMENT_HOVER)(hover)
    server.feature(types.TEXT_DOCUMENT_DOCUMENT_LINK)(document_links)


async def completion(
    ls: DevsyncServer, params: types.CompletionParams
) -> types.CompletionList | None:
    uri = params.text_document.uri
    text = text_map(ls, uri) if is_config(uri) else None
    path = path_of(uri)
    if text is None or path is None:
        return None
    offset = text.offset(params.position)
    found = complete(text.text, offset, snippets=_takes_snippets(ls))
    items = found.items
    if found.wanted is not None:
        names = await lookups.find(ls, path.parent, found.wanted)
        items += value_items(text.text, found.wanted, names)
    return types.CompletionList(
        is_incomplete=_is_folder_by_folder(found),
        items=[_item(text, item) for item in items],
    )


def hover(ls: DevsyncServer, params: types.HoverParams) -> types.Hover | None:
    uri = params.text_document.uri
    text = text_map(ls, uri) if is_config(uri) else None
    if text is None:
        return None
    found = about(text.text, text.offset(params.position))
    if found is None:
        return None
    contents = types.MarkupContent(types.MarkupKind.Markdown, found.markdown)
    return types.Hover(contents, text.range(found.span))


def document_links(
    ls: DevsyncServer, params: types.DocumentLinkParams
) -> list[types.DocumentLink] | None:
    uri = params.text_document.uri
    path = path_of(uri)
    text = text_map(ls, uri) if is_config(uri) else None
    if text is None or path is None:
        return None
    found = []
    for link in file_links(text.text):
        target = target_of(link, path.parent)
        if os.path.exists(target):
            to = uris.from_fs_path(str(target))
            found.append(types.DocumentLink(text.range(link.span), target=to))
    page = reference_page()
    if page is not None:
        for span in header_spans(text.text):
            link_to = types.DocumentLink(text.range(span), page, "Open the reference")
            found.append(link_to)
    return found


@functools.cache
def reference_page() -> str | None:
    """The page that explains every key: in the package, or in its sources."""
    package = Path(__file__).parent.parent
    pages = (package / "configuration.md", package.parent / PAGE)
    there = next((page for page in pages if page.is_file()), None)
    return uris.from_fs_path(str(there)) if there is not None else None


def _is_folder_by_folder(found: Completion) -> bool:
    """Whether another folder's names follow once a "/" is typed."""
    sources = ("sessions", "identity files")
    return found.wanted is not None and found.wanted.source not in sources


def _takes_snippets(ls: DevsyncServer) -> bool:
    document = ls.client_capabilities.text_document
    completion = document.completion if document else None
    item = completion.completion_item if completion else None
    return bool(item and item.snippet_support)


def _item(text: TextMap, item: Item) -> types.CompletionItem:
    more: dict[str, Any] = {}
    if item.is_snippet:
        more["insert_text_format"] = types.InsertTextFormat.Snippet
    if item.doc:
        more["documentation"] = types.MarkupContent(types.MarkupKind.Markdown, item.doc)
    return types.CompletionItem(
        label=item.label,
        kind=_KINDS[item.kind],
        detail=item.detail or None,
        sort_text=item.order,
        filter_text=item.filter,
        text_edit=types.TextEdit(text.range(item.span), item.insert),
        **more,
    )
