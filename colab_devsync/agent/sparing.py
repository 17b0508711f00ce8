"""Runs debugpy for a program whose child processes are left alone. On the VM.

debugpy can be told not to follow them, but the code of forked ones is traced all the
same: at a breakpoint they would stop for ever, as the threads that speak with the
debugger are not in them. So DataLoader workers would hang.
"""

import os
import sys

assert sys.platform != "win32"  # runs on the VM only

TYPE_CHECKING = False  # also executed in people's programs, with letting_in.py
if TYPE_CHECKING:
    from typing import Any


def spare_children() -> None:
    """From now on, in this process."""
    os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    monkey: Any = sys.modules.get("_pydev_bundle.pydev_monkey")
    if monkey is None:
        return  # debugpy is not there yet
    monkey._on_forked_process(setup_tracing=False)
    sys.settrace(None)
    monitoring: Any = getattr(sys, "monitoring", None)  # from Python 3.12 on
    if monitoring and monitoring.get_tool(monitoring.DEBUGGER_ID) == "pydevd":
        monitoring.set_events(monitoring.DEBUGGER_ID, 0)
        monitoring.free_tool_id(monitoring.DEBUGGER_ID)


def main() -> None:
    """As `python FOLDER ...`; `FOLDER ...` are the arguments."""
    del sys.argv[0]  # that of -c
    if sys.path[0] == "":
        del sys.path[0]  # a project's runpy.py must not become ours
    import runpy

    spare_children()
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
