"""Puts the agent together on the VM, in memory, and starts it.

Run there by `exec` with `SOURCES` ({module: source}) in its globals; never imported.
Must stay free of relative imports, because it is what makes them work.
"""

from __future__ import annotations

import linecache
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Dict

PACKAGE = "colab_devsync_agent"
sources: Dict[str, str] = globals()["SOURCES"]


class Loader:
    def __init__(self, module: str) -> None:
        self.module = module

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        source = sources[self.module]
        name = "<colab-devsync>/agent/%s.py" % self.module
        # Tracebacks from the VM then show source lines.
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        exec(compile(source, name, "exec"), module.__dict__)

    def add(self, more: Dict[str, str]) -> None:
        """From now on these can be imported too."""
        sources.update(more)

    def get_source(self, fullname: str) -> str:
        """For modules that go on to processes of their own."""
        return sources[fullname.rpartition(".")[2]]


class Finder:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name == PACKAGE:
            return spec_of("__init__", name, is_package=True)
        head, _, tail = name.rpartition(".")
        if head == PACKAGE and tail in sources:
            return spec_of(tail, name)
        return None


def spec_of(module: str, name: str, is_package: bool = False) -> ModuleSpec:
    loader: Any = Loader(module)
    return ModuleSpec(name, loader, is_package=is_package)


finder: Any = Finder
sys.meta_path.insert(0, finder)
__import__(PACKAGE + ".serve", fromlist=["main"]).main()
