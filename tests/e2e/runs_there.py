"""Programs for runs in end-to-end tests, and their end when the test is over."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.remotes import Remote

ALL_BYTES = bytes(range(256)) * 200 + "ü€😀".encode() + b"\xff\xed\xb2\x80"

PROGRAMS = {
    "bytes.py": "import sys\n"
    "data = bytes(range(256)) * 200 + '\\u00fc\\u20ac\\U0001f600'.encode()"
    " + b'\\xff\\xed\\xb2\\x80'\n"
    "sys.stdout.buffer.write(data)\nsys.stderr.buffer.write(data[::-1])\nsys.exit(3)\n",
    "args.py": "import sys\nprint(*sys.argv[1:], sep='|')\n",
    # Prints numbered lines until it is told to stop, or to end by a file.
    "numbers.py": "import os, sys, time\nn = 0\n"
    "while not os.path.exists('stop'):\n"
    "    print(n)\n    n += 1\n    time.sleep(0.01)\n"
    "sys.exit(5)\n",
    # Ends as the signal handler says; its pid comes first.
    "polite.py": "import os, signal, time\n"
    "signal.signal(signal.SIGINT, lambda *_: (print('bye'), os._exit(42)))\n"
    "print(os.getpid())\nwhile True: time.sleep(1)\n",
    "stubborn.py": "import os, signal, time\n"
    "signal.signal(signal.SIGINT, lambda *_: print('no'))\n"
    "signal.signal(signal.SIGTERM, lambda *_: print('no'))\n"
    "print(os.getpid())\nwhile True: time.sleep(1)\n",
    "fails.py": "import pkg.inner\ndef main():\n    pkg.inner.low()\nmain()\n",
    "pkg/inner.py": "import json\ndef low():\n    json.loads('{')\n",
    "broken.py": "x = 1\nif x\n    pass\n",
}


def write_programs(folder: Path) -> None:
    for name, source in PROGRAMS.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, encoding="utf-8")


def specs(remote: Remote) -> list[dict[str, Any]]:
    """What the VM keeps of each run."""
    folder = remote.root / ".colab-devsync" / "runs"
    return [json.loads(path.read_text()) for path in folder.glob("*/spec.json")]


@contextlib.contextmanager
def ended_afterwards(remote: Remote) -> Iterator[None]:
    """No run outlives the test, as it would outlive everything else."""
    try:
        yield
    finally:
        for spec in specs(remote):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(spec["pid"], signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
