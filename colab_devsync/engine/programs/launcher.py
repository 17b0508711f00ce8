"""Programs of ours that the VM's own interpreter runs: how they get there.

Their sources are modules of `agent/`. They travel in the environment of the program,
which takes them out before anything else, so no file is left and no list of processes
shows them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from ... import agent
from ...core.runs import LAUNCH

_VARIABLE = "COLAB_DEVSYNC_SOURCE"  # LAUNCH takes it out


@dataclass(frozen=True)
class Launch:
    """What to start, and with which variables."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


def launch(python: str, module: str, *arguments: str) -> Launch:
    """`python` runs the source of `agent/<module>.py`."""
    argv = (python, "-c", LAUNCH, *arguments)
    return Launch(argv, {_VARIABLE: source_of(module)})


@functools.cache
def source_of(module: str) -> str:
    return resources.files(agent).joinpath(f"{module}.py").read_text(encoding="utf-8")
