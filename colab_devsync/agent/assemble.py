"""Puts the agent together on the VM, in memory, and starts it.

Run there by `exec` with `SOURCES` ({module: source}) in its globals; never imported.
Must stay free of relative imports, because it is what makes them work.
"""

from __future__ import annotations

import linecache
import sys
from importlib.machinery import ModuleSpec

PACKAGE = "colab_devsync_agent"
sources = globals()["SOURCES"]


class Loader:
    def __init__(self, module):  # type: ignore[no-untyped-def]
        self.module = module

    def create_module(self, spec):  # type: ignore[no-untyped-def]
        return None

    def exec_module(self, module):  # type: ignore[no-untyped-def]
        source = sources[self.module]
        name = "<colab-devsync>/agent/%s.py" % self.module
        # Tracebacks from the VM then show source lines.
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        exec(compile(source, name, "exec"), module.__dict__)


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name == PACKAGE:
            return ModuleSpec(name, Loader("__init__"), is_package=True)
        head, _, tail = name.rpartition(".")
        if head == PACKAGE and tail in sources:
            return ModuleSpec(name, Loader(tail))
        return None


sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]
__import__(PACKAGE + ".serve", fromlist=["main"]).main()
