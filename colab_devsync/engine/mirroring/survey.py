"""Compares the project folder, what we know, and the VM: all of it, at once.

Runs on its own thread with a snapshot of the index: the local walk and the VM's own
look at its files go on at the same time. Changes nothing; the engine applies what it
finds. A save meanwhile wins: the engine checks each finding against the present.
"""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...agent import hashing
from ...core.config import Config
from ...core.events import Problem
from ...core.ignore import IgnoreRules
from ...core.plan import Known, LocalStat
from ...core.pulls import not_mirrored
from ...errors import DevsyncError
from ...remote.client import AgentClient, Reply
from . import tree

_LOOK_CHUNK = 2000  # paths per question
_EARLY = 200  # files; so many are worth handing over while the walk goes on

Changed = Mapping[str, LocalStat]


@dataclass(frozen=True)
class Brief:
    """What a survey starts from."""

    root: Path
    config: Config
    known: Mapping[str, Known]  # a copy
    digest: int = 0
    client: AgentClient | None = None  # None: only the local half
    is_new_vm: bool = False
    is_fresh_root: bool = False
    greeting: str = ""  # the digest that the VM's agent has just greeted with


@dataclass
class Findings:
    """What differs. Paths; hashes are the VM's."""

    rules: IgnoreRules
    believed: Mapping[str, Known]  # what the VM held as far as we knew at the start
    changed: dict[str, LocalStat] = field(default_factory=dict)  # locally, or new
    missing: list[str] = field(default_factory=list)  # known, not here any more
    unwanted: list[str] = field(default_factory=list)  # known, here, now ignored
    errors: list[Problem] = field(default_factory=list)
    alike: list[Problem] = field(default_factory=list)  # names that differ in case
    root_exists: bool = True
    remote: dict[str, str] = field(
        default_factory=dict
    )  # known paths that differ there
    guess: dict[str, str] = field(
        default_factory=dict
    )  # unknown paths that exist there
    extra: dict[str, str] = field(default_factory=dict)  # replica: only on the VM
    failure: DevsyncError | None = None  # the remote half did not come about
    is_cut: bool = False  # because the link went down


def rules_of(config: Config) -> IgnoreRules:
    """The project's ignore rules, before any .gitignore was read. What is pulled is
    not sent back: pruning old checkpoints here must not delete them there."""
    sync = config.sync
    pulled = [
        pattern
        for rule in config.pull
        for pattern in not_mirrored(rule.local, rule.include)
    ]
    kept_out = [f"!{one}" for one in pulled if not one.startswith("!")]
    return IgnoreRules(
        gitignore=sync.gitignore,
        exclude=(*sync.exclude, *pulled),
        include=(*sync.include, *kept_out) if sync.include else (),
    )


def start(
    brief: Brief, early: Callable[[Changed], None], done: Callable[[Findings], None]
) -> None:
    """Surveys on a thread of its own, which calls `done` at the end; before that
    `early` with what changed here, piece by piece, where that may be sent at once."""
    threading.Thread(
        target=lambda: done(survey(brief, early)), name="devsync-survey", daemon=True
    ).start()


def survey(brief: Brief, early: Callable[[Changed], None]) -> Findings:
    """Both halves. Failures of the remote half are part of the findings."""
    check = _ask_check(brief)
    findings = Findings(rules_of(brief.config), brief.known)
    # What an unknown VM holds has to be looked at before anything is sent there.
    is_known = not brief.is_new_vm or brief.is_fresh_root
    seen = _walk(brief, findings, early if is_known else lambda changed: None)
    try:
        if check is not None:
            findings.remote = _differing(brief, check())
        if brief.client is not None:
            _look_around(brief, brief.client, seen, findings)
    except DevsyncError as exc:
        findings.failure = exc
        findings.is_cut = brief.client is not None and brief.client.is_lost
    return findings


def _walk(
    brief: Brief, findings: Findings, early: Callable[[Changed], None]
) -> dict[str, LocalStat]:
    walk = tree.Walk(brief.root, findings.rules)
    seen: dict[str, LocalStat] = {}
    known, fresh = brief.known, dict[str, LocalStat]()
    for path, stat in walk.files():
        seen[path] = stat
        entry = known.get(path)
        if entry is None or not entry.is_current(stat):
            fresh[path] = stat
            if len(fresh) == _EARLY:
                early(fresh)
                findings.changed.update(fresh)
                fresh = {}
    findings.changed.update(fresh)
    findings.errors = walk.errors
    findings.alike = _alike(seen)
    findings.root_exists = brief.root.is_dir()
    for path in known.keys() - seen.keys():
        if os.path.lexists(tree.absolute(brief.root, path)) and _is_ignored(
            findings.rules, path
        ):
            findings.unwanted.append(path)
        else:
            findings.missing.append(path)
    return seen


def _alike(paths: Iterable[str]) -> list[Problem]:
    """Names that are one and the same where case or accents' spelling do not count."""
    first: dict[str, str] = {}
    found = []
    for path in paths:
        if path.isascii():
            key = path.lower()
        else:
            key = unicodedata.normalize("NFC", path).casefold()
        other = first.setdefault(key, path)
        if other != path:
            one, two = sorted((other, path))
            message = f"{one} and {two}: the names differ only in case or accents."
            hint = "Rename one: not every machine can hold both."
            found.append(Problem(two, message, hint))
    return found


def _is_ignored(rules: IgnoreRules, path: str) -> bool:
    return rules.ignores(path, is_dir=False)


def _ask_check(brief: Brief) -> Callable[[], Reply] | None:
    """Sends the question at once; the result waits for the answer."""
    client = brief.client
    digest = hashing.as_text(brief.digest)
    # Its greeting comes of the same look at all files: no need to ask again.
    if client is None or brief.is_new_vm or brief.greeting == digest:
        return None
    answered = threading.Event()
    replies: list[Reply] = []

    def on_reply(reply: Reply) -> None:
        replies.append(reply)
        answered.set()

    client.send({"op": "check", "digest": digest}, b"", on_reply)

    def wait() -> Reply:
        answered.wait()
        return replies[0]

    return wait


def _differing(brief: Brief, reply: Reply) -> dict[str, str]:
    """Known paths whose hash on the VM is not the one we know."""
    meta = reply.meta()
    if meta["same"] or brief.client is None:
        return {}
    here = hashing.folder_digests(
        (path, known.hash) for path, known in brief.known.items()
    )
    there: dict[str, str] = meta["folders"]
    folders = {
        name for name in here.keys() | there.keys() if here.get(name) != there.get(name)
    }
    ours = [path for path in brief.known if path.rpartition("/")[0] in folders]
    theirs = brief.client.request({"op": "folder", "folders": sorted(folders)}).meta()[
        "paths"
    ]
    strangers = [path for path in theirs if path not in brief.known]
    held = _look(brief.client, ours, forget=strangers)
    return {
        path: found for path, found in held.items() if found != brief.known[path].hash
    }


def _look(
    client: AgentClient, paths: Sequence[str], *, forget: Sequence[str] = ()
) -> dict[str, str]:
    held: dict[str, str] = {}
    for at in range(0, max(1, len(paths)), _LOOK_CHUNK):
        chunk = paths[at : at + _LOOK_CHUNK]
        question = {"op": "look", "paths": chunk, "forget": forget if at == 0 else []}
        answer = client.request(question, timeout_s=600).meta()["hashes"]
        held.update(zip(chunk, answer, strict=True))
    return held


def _look_around(
    brief: Brief, client: AgentClient, seen: Iterable[str], findings: Findings
) -> None:
    """What else the VM holds: under our paths on an unknown VM, or (replica) at all."""
    if brief.is_new_vm and not brief.is_fresh_root:
        held = _look(client, list(seen))
        findings.guess = {path: found for path, found in held.items() if found}
    if findings.unwanted:
        _look(client, [], forget=findings.unwanted)
    if (
        brief.config.sync.mode == "replica"
        and not findings.errors
        and findings.root_exists
    ):
        listed = client.request({"op": "list"}, timeout_s=600).meta()["paths"]
        here = set(seen) | brief.known.keys()
        extra = [
            p for p in listed if p not in here and not _is_ignored(findings.rules, p)
        ]
        findings.extra = _look(client, extra)
