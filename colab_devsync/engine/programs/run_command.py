"""What a run's command line is: decided from its spec and the configuration. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.config import Config
from ...core.runs import PortWait, RunKind, RunSpec
from ...errors import RunError

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.]+")
_LONGEST = 40


@dataclass(frozen=True)
class Target:
    """What Python is to run: a file (absolute on the VM) or a module, and arguments."""

    file: str | None
    module: str | None
    args: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """As they follow `python`."""
        head = [self.file] if self.file else ["-m", self.module or ""]
        return [*head, *self.args]

    @property
    def name(self) -> str:
        """How the run is called: "train" of train.py."""
        if self.module:
            return _as_name(self.module.rpartition(".")[2])
        return _as_name(posixpath.splitext(posixpath.basename(self.file or ""))[0])


@dataclass(frozen=True)
class Command:
    """All the VM must know to start it."""

    name: str
    kind: RunKind
    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    file: str | None  # has to be there, absolute on the VM
    wait_port: PortWait | None = None
    hook: bool = False  # whether a debugger may be let in later (agent/hook.py)

    def as_request(self, nonce: str, after: int) -> dict[str, Any]:
        return {
            "op": "run",
            "nonce": nonce,
            "after": after,
            "name": self.name,
            "kind": self.kind,
            "argv": list(self.argv),
            "cwd": self.cwd,
            "env": dict(self.env),
            "file": self.file,
            "hook": self.hook,
            "wait_port": self.wait_port.as_json() if self.wait_port else None,
        }


def target_of(spec: RunSpec, config: Config, root: str) -> Target:
    """What `spec` means; `root` is the project's folder on the VM. RunError."""
    file, module, args = spec.file, spec.module, tuple(spec.args)
    if not file and not module:
        file, module = config.run.entry, config.run.module
        args = args or config.run.args
    if file:
        return Target(posixpath.join(root, file), None, args)
    if module:
        return Target(None, module, args)
    raise RunError("There is nothing to run.", "Name a file, or set `entry` in [run].")


def command_of(
    spec: RunSpec,
    config: Config,
    root: str,
    kind: RunKind = "run",
    wait_port: PortWait | None = None,
) -> Command:
    """RunError if nothing is named."""
    if spec.argv is None:
        target = target_of(spec, config, root)
        argv = [config.remote.python, "-u", *target.words]
        name, file = target.name, target.file
    else:
        argv = list(spec.argv)
        named = spec.file or spec.module
        target = target_of(spec, config, root) if named else Target(None, None, ())
        name = target.name if named else _as_name(posixpath.basename(argv[0]))
        file = target.file
    return Command(
        name=name,
        kind=kind,
        argv=argv,
        cwd=config.run.cwd if spec.cwd is None else spec.cwd,
        env={**config.remote.env, **config.run.env, **spec.env},
        file=file,
        wait_port=wait_port,
        hook=spec.argv is None,
    )


def _as_name(text: str) -> str:
    return _NOT_IN_NAMES.sub("_", text)[:_LONGEST].strip("_.") or "run"
