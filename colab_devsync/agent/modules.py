"""Says which modules this machine's Python does not find. On the VM.

A program of its own: the configured interpreter runs this source with `-c`, because
what is installed depends on it. Nothing is imported, only looked for.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and sys.path and sys.path[0] == "":
    del sys.path[0]  # a project's json.py must not become ours

import importlib
import importlib.util
import json
import os
from typing import Any, List

_MOST_FOLDERS = 200  # looked into, before a folder without modules counts as a package
_ENDINGS = (".py", ".so", ".pyc", ".pyd")


def main(arguments: List[str]) -> None:
    """`ROOT PAIRS`: pairs of a folder below the root and a module, as JSON. Writes
    those that are missing, as one line of JSON."""
    root, pairs = arguments[0], json.loads(arguments[1])
    gone = [[folder, name] for folder, name in pairs if is_missing(root, folder, name)]
    sys.stdout.write("\n%s\n" % json.dumps(gone))


def is_missing(root: str, folder: str, name: str) -> bool:
    """Whether a script in `folder`, or one run from the root, could not import it."""
    before = list(sys.path)
    sys.path[:0] = [os.path.join(root, folder), root]
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # noqa: BLE001
        return False  # a broken package is there; what is wrong shows when it runs
    finally:
        sys.path[:] = before
    return spec is None or is_mere_folder(spec, root)


def is_mere_folder(spec: Any, root: str) -> bool:
    """A folder of the project without a module in it (`wandb/`, `data/`) looks like a
    namespace package of that name."""
    if spec.origin is not None or spec.submodule_search_locations is None:
        return False
    places = [os.path.abspath(one) for one in spec.submodule_search_locations]
    inside = os.path.abspath(root) + os.sep
    return all(one.startswith(inside) and not holds_modules(one) for one in places)


def holds_modules(folder: str) -> bool:
    for count, (_, _, files) in enumerate(os.walk(folder)):
        if any(name.endswith(_ENDINGS) for name in files):
            return True
        if count >= _MOST_FOLDERS:
            return True  # cannot say; better no hint than a wrong one
    return False


if __name__ == "__main__":
    main(sys.argv[1:])
