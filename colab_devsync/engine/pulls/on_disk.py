"""How the rules stand according to this machine alone, before any link."""

from __future__ import annotations

import posixpath
from pathlib import Path

from ...core.config.schema import PullConfig
from ...core.pulls import PullInfo
from ...errors import ConfigError
from .. import places
from ..project import load_project
from .record import Pulled, Record, by_age


def stand(root: Path, profile: str | None) -> tuple[PullInfo, ...]:
    """Of each rule, what is here. Any thread; reads the disk. Without a configuration
    that can be read there are no rules."""
    try:
        config = load_project(root, profile)
    except ConfigError:
        return ()
    if not config.pull:
        return ()
    base = config.remote.root or f"/content/{config.name}"
    names = [rule.name for rule in config.pull]
    pulled = _pulled(places.project_state_dir(root, profile), names)
    return tuple(_info(rule, base, pulled.get(rule.name, [])) for rule in config.pull)


def _pulled(folder: Path, names: list[str]) -> dict[str, list[Pulled]]:
    if not Record.is_in(folder):
        return {}
    record = Record(folder)
    try:
        return {name: list(record.pulled(name).values()) for name in names}
    finally:
        record.close()


def _info(rule: PullConfig, base: str, pulled: list[Pulled]) -> PullInfo:
    here = [one for one in pulled if one.local is not None and one.local.exists()]
    newest = min(here, key=by_age) if here else None
    return PullInfo(
        name=rule.name,
        remote=posixpath.join(base, rule.remote),
        local=rule.local,
        here=len(here),
        newest=newest.path if newest else None,
        newest_at=round(newest.version.mtime_ns / 1e9, 1) if newest else None,
    )
