"""Gives runs a hook (`hook.py`), by which a debugger can be let in later."""

from __future__ import annotations

import os
from typing import Any, Dict, cast

from . import hook


class Hooks:
    def __init__(self, state: str) -> None:
        """`state`: our folder in the root."""
        self._folder = os.path.join(os.path.abspath(state), "hook")

    def add(self, env: Dict[str, str], run_folder: str) -> None:
        """For a Python that is started with `env`. Where there is no room for it, or
        PYTHONPATH cannot name it, the run goes without."""
        if os.pathsep in self._folder:
            return
        try:
            self._write()
        except OSError:
            return
        before = env.get("PYTHONPATH")
        env[hook.RUN] = os.path.abspath(run_folder)
        if before is not None:
            env[hook.BEFORE] = before
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (self._folder, before)))

    def _write(self) -> None:
        """Once per version of ours; Python keeps it compiled beside."""
        path, source = os.path.join(self._folder, "sitecustomize.py"), _source()
        try:
            with open(path, "rb") as stream:
                if stream.read() == source:
                    return
        except FileNotFoundError:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
        part = "%s.%d" % (path, os.getpid())
        with open(part, "wb") as stream:
            stream.write(source)
        os.replace(part, path)


def _source() -> bytes:
    loader: Any = hook.__spec__.loader if hook.__spec__ else None
    return cast(str, loader.get_source(hook.__name__)).encode()
