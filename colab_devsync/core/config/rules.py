"""What keys mean together: profiles over the base, requirements, exclusions, defaults.

Works on values that `read.py` already found well-formed one by one. Pure; any thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .formats import NAME
from .introspect import tables
from .positions import Path
from .read import BROKEN, Mistake, Values
from .schema import Config

_NEEDS = {"direct": "host", "relay": "relay", "command": "proxy_command"}
_RELAY_PORT = 10022
_EXCLUSIVE = ("entry", "module")


def overlay(base: Values, profile: Values) -> Values:
    """`profile` over `base`: tables merge key by key, lists are replaced."""
    merged = dict(base)
    for name, value in profile.items():
        under = merged.get(name)
        if isinstance(value, dict) and isinstance(under, dict):
            if name == "run" and any(key in value for key in _EXCLUSIVE):
                # A profile's module takes the place of the base's entry.
                under = {k: v for k, v in under.items() if k not in _EXCLUSIVE}
            merged[name] = overlay(under, value)
        else:
            merged[name] = value
    return merged


def complete(values: Values, folder_name: str) -> Values:
    """`values` with the defaults that depend on other values."""
    link, remote = dict(values.get("link", {})), dict(values.get("remote", {}))
    name = values.get("name", project_name(folder_name))
    if link.get("provider") == "relay":
        link.setdefault("port", _RELAY_PORT)
    remote.setdefault("root", f"/content/{name}")
    return {
        **values,
        "name": name,
        "link": link,
        "remote": remote,
        "pull": [_complete_pull(rule) for rule in values.get("pull", [])],
        "forward": [_complete_forward(one) for one in values.get("forward", [])],
    }


def project_name(folder_name: str) -> str:
    """A name that NAME accepts, as near to `folder_name` as may be."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder_name).strip("-.")[:64]
    return name if NAME.accepts(name) else "project"


def check(values: Values) -> Iterator[Mistake]:
    """Contradictions in completed values. Paths are those of an unprofiled file."""
    yield from _check_link(values["link"])
    run = values.get("run", {})
    if all(key in run for key in _EXCLUSIVE):
        yield Mistake(
            ("run", "module"), "stands beside `entry`", "one of the two", part="key"
        )
    yield from _check_pulls(values["pull"])
    yield from _check_forwards(values)


def build(values: Values, profile: str | None) -> Config:
    """The `Config` of completed values that have no mistakes."""
    made: dict[str, Any] = {"name": values["name"]}
    for name, table in tables().items():
        if name and table.repeated:
            made[name] = tuple(table.make(**item) for item in values.get(name, ()))
        elif name:
            made[name] = table.make(**values.get(name, {}))
    return Config(**made, profile=profile)


def _complete_pull(rule: Values) -> Values:
    remote = rule["remote"]
    if "local" in rule or (isinstance(remote, str) and remote.startswith("/")):
        return rule
    return {**rule, "local": remote}


def _complete_forward(forward: Values) -> Values:
    port = forward["remote_port"]
    return {"name": port if port is BROKEN else str(port), **forward}


def _check_link(link: Values) -> Iterator[Mistake]:
    keys = tables()["link"].keys
    provider = link.get("provider")
    if provider is None:
        default = keys["provider"].default
        for name in link:
            readers = keys[name].about.providers
            if readers and default not in readers:
                wanted = " or ".join(f'provider = "{reader}"' for reader in readers)
                yield Mistake(
                    ("link", name), "`provider` is missing", wanted, part="key"
                )
                return
    needed = _NEEDS.get(provider) if isinstance(provider, str) else None
    if needed and not link.get(needed):
        yield Mistake(
            ("link", needed) if needed in link else ("link", "provider"),
            f'is {"empty" if needed in link else "missing"}; provider "{provider}" '
            f"needs it",
            f"{needed} = {keys[needed].about.example}",
            name=("link", needed),
        )


def _check_pulls(rules: list[Values]) -> Iterator[Mistake]:
    seen: dict[str, int] = {}
    for index, rule in enumerate(rules):
        path: Path = ("pull", index, "local")
        if "local" not in rule:
            yield Mistake(
                path,
                "is missing, and `remote` is absolute",
                tables()["pull"].keys["local"].expected,
            )
        elif rule["local"] == "." and not rule.get("include"):
            yield Mistake(
                path,
                "is the whole project, and `include` does not say which files",
                "a folder of its own, or `include`",
            )
        elif rule["local"] is not BROKEN:
            # Windows and macOS take names that differ only in case for one.
            first = seen.setdefault(rule["local"].casefold(), index)
            if first != index:
                yield Mistake(
                    path,
                    f'is "{rule["local"]}", as is pull[{first}].local',
                    "another folder for each rule",
                )


def _check_forwards(values: Mapping[str, Any]) -> Iterator[Mistake]:
    names: dict[str, int] = {}
    ports: dict[int, str] = {}
    own = values.get("ssh", {}).get("local_port")
    if isinstance(own, int) and own:
        ports[own] = "ssh.local_port"
    for index, forward in enumerate(values["forward"]):
        name, port = forward["name"], forward.get("local_port")
        first = index if name is BROKEN else names.setdefault(name, index)
        if first != index:
            yield Mistake(
                ("forward", index, "name"),
                f'is "{name}", as is forward[{first}].name',
                "another name for each forward",
            )
        holder = f"forward[{index}].local_port"
        if isinstance(port, int) and port:
            other = ports.setdefault(port, holder)
            if other != holder:
                yield Mistake(
                    ("forward", index, "local_port"),
                    f"is {port}, as is {other}",
                    "another port, or 0",
                )
