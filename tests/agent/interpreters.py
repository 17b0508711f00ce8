"""The Pythons of this machine that the agent must run on."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

MINORS = range(8, 14)


@functools.cache
def interpreters() -> dict[str, str]:
    """Paths by version: "3.8" -> "/usr/bin/python3.8"."""
    candidates = os.environ.get("COLAB_DEVSYNC_PYTHONS", "").split(os.pathsep)
    candidates += [sys.executable]
    candidates += [shutil.which(f"python3.{minor}") or "" for minor in MINORS]
    versions = Path.home() / ".pyenv" / "versions"
    candidates += sorted(str(path) for path in versions.glob("3.*/bin/python"))
    found: dict[str, str] = {}
    for path in filter(None, candidates):
        version = version_of(path)
        if version in {f"3.{minor}" for minor in MINORS}:
            found.setdefault(version, path)
    return dict(sorted(found.items(), key=lambda pair: int(pair[0][2:])))


def version_of(path: str) -> str:
    """ "" for what does not start (a shim without its Python)."""
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([path, "-c", ask], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
