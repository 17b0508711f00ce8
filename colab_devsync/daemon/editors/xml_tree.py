"""Small XML files of the JetBrains IDEs: read, changed in places, written as they do.

Pure. Comments and what we do not know stay; a file that we could not write back as it
was (a DOCTYPE, an encoding) is CannotMerge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.parsers import expat

from .model import CannotMerge

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'

Change = Callable[[Element], None]


def element(
    tag: str, attributes: Mapping[str, str] | None = None, *children: Element
) -> Element:
    made = Element(tag, dict(attributes or {}))
    made.extend(children)
    return made


def option(name: str, value: str | None = None, *children: Element) -> Element:
    attributes = {"name": name} if value is None else {"name": name, "value": value}
    return element("option", attributes, *children)


def render(root: Element, head: str = "") -> str:
    """A new file, indented by two as the IDEs do."""
    ElementTree.indent(root)
    return head + ElementTree.tostring(root, encoding="unicode")


def new_project_file(change: Change) -> str:
    root = element("project", {"version": "4"})
    change(root)
    return render(root, HEAD) + "\n"


def xml_merge(change: Change) -> Callable[[str], str]:
    """A merge for files whose root is <project>."""
    return partial(_merged, change)


def same_xml(one: str, other: str) -> bool:
    """Whether two files mean the same."""
    try:
        return _canonical(one) == _canonical(other)
    except ElementTree.ParseError:
        return False


def component(root: Element, name: str) -> Element:
    """The component of that name, made if absent."""
    return find_or_add(root, "component", {"name": name})


def find_or_add(
    parent: Element, tag: str, key: Mapping[str, str], more: Element | None = None
) -> Element:
    """The child with these attributes; else a new one, or `more` in its place."""
    for child in parent.findall(tag):
        if all(child.get(name) == value for name, value in key.items()):
            return child
    made = more if more is not None else element(tag, key)
    parent.append(made)
    return made


def _merged(change: Change, text: str) -> str:
    if not text.strip():
        return new_project_file(change)
    if re.search(r"<!(DOCTYPE|ENTITY)", text):
        raise CannotMerge("it has a DOCTYPE")
    encoding = re.match(r"""\ufeff?<\?xml[^>]*\sencoding=["']([^"']+)""", text)
    if encoding is not None and encoding[1].lower() not in ("utf-8", "us-ascii"):
        raise CannotMerge(f"its encoding is {encoding[1]}")
    head, root, tail = _parse(text)
    if root.tag != "project":
        raise CannotMerge(f"its root is <{root.tag}>, not <project>")
    if "xmlns" in text:
        raise CannotMerge("it has namespaces")  # their prefixes would be others
    before = ElementTree.tostring(root, encoding="unicode")
    change(root)
    after = ElementTree.tostring(root, encoding="unicode")
    if after == before:
        return text
    _settle(root, "\n")
    return head + ElementTree.tostring(root, encoding="unicode") + tail


def _parse(text: str) -> tuple[str, Element, str]:
    """What stands before the root, the root, and what is behind it. ElementTree itself
    forgets all that is outside."""
    around: dict[bool, list[str]] = {False: [], True: []}  # by whether the root was met
    depth, is_behind = 0, False
    builder = ElementTree.TreeBuilder(insert_comments=True, insert_pis=True)

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, is_behind
        depth, is_behind = depth + 1, True

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1

    def rest(data: str) -> None:
        if not depth:
            around[is_behind].append(data)

    outer = expat.ParserCreate("utf-8")
    outer.StartElementHandler = start
    outer.EndElementHandler = end
    outer.DefaultHandler = rest
    bare = text.removeprefix("\ufeff")
    try:
        outer.Parse(bare.encode(), True)
        parser = ElementTree.XMLParser(target=builder)
        root = ElementTree.fromstring(bare.encode(), parser)
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as exc:
        raise CannotMerge(f"it is not XML ({exc})") from exc
    mark = text[: len(text) - len(bare)]
    return mark + "".join(around[False]), root, "".join(around[True])


def _settle(parent: Element, outer: str) -> None:
    """White space for what was added: there alone it is missing."""
    inner = outer + "  "
    if len(parent) and not parent.text:
        parent.text = inner
    for number, child in enumerate(parent):
        is_last = number == len(parent) - 1
        if child.tail is None:
            child.tail = outer if is_last else inner
        elif not is_last and child.tail == outer:
            child.tail = inner  # it was the last one
        _settle(child, inner)


def _canonical(text: str) -> str:
    return ElementTree.canonicalize(text, strip_text=True)
