"""Google's `colab` command: found, and asked to refresh tokens or to list runtimes.

Always as a program of its own: it may print, ask and exit as it likes. It has its own
login; we never see the account's credentials.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import LinkError
from .store import SESSIONS_VARIABLE, ColabSession

CLI_VARIABLE = "COLAB_DEVSYNC_COLAB_CLI"
INSTALL = (
    'install it with `pip install "colab-devsync[colab]"` (Python 3.12 or newer, Linux '
    "or macOS), and log in once by running `colab sessions`"
)
_REFRESH_S = 60.0
# Runs in the Python that has Google's package; prints what it knows as JSON.
_LIST = """
import json
from colab_cli.common import state
print(json.dumps([
    {"endpoint": one.endpoint, "accelerator": one.accelerator.value,
     "url": one.runtime_proxy_info.url, "token": one.runtime_proxy_info.token,
     "expires_in": one.runtime_proxy_info.token_expires_in_seconds}
    for one in state.client.list_assignments()
]))
"""


def command() -> list[str] | None:
    """How the `colab` command is started. `COLAB_DEVSYNC_COLAB_CLI` overrides, with
    options if need be; then our own Python's package, then the PATH."""
    chosen = os.environ.get(CLI_VARIABLE)
    if chosen:
        return shlex.split(chosen, posix=os.name != "nt")
    if _has_package():
        return [sys.executable, "-m", "colab_cli.cli"]
    found = shutil.which("colab")
    return None if found is None else [found]


def require_command() -> list[str]:
    """LinkError where there is none."""
    found = command()
    if found is None:
        raise LinkError("Google's `colab` command is not installed", INSTALL)
    chosen = os.environ.get(SESSIONS_VARIABLE)
    return [*found, "--config", chosen] if chosen else found


def new_session(name: str, options: Sequence[str]) -> list[str]:
    """The command that makes a runtime. LinkError where there is none."""
    return [*require_command(), "new", "--session", name, *options]


def refresh() -> None:
    """New tokens for all sessions, in the command's own file. LinkError with its last
    words. Takes seconds."""
    _run([*require_command(), "sessions"])


def can_list() -> bool:
    """Whether `runtimes` can ask: Google's package is in our own Python."""
    return not os.environ.get(CLI_VARIABLE) and _has_package()


def runtimes() -> Mapping[str, ColabSession]:
    """All runtimes of the account, those opened in the browser too, by endpoint.
    LinkError."""
    text = _run([sys.executable, "-c", _LIST])
    now = time.time()
    try:
        entries = json.loads(text.splitlines()[-1])
        return {
            one["endpoint"]: ColabSession(
                name=one["endpoint"],
                endpoint=one["endpoint"],
                url=one["url"],
                token=one["token"],
                expires_at=now + float(one["expires_in"]),
                accelerator=one["accelerator"],
            )
            for one in entries
        }
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise LinkError(
            "Google's package answers in a form that is not known",
            "update colab-devsync, or name a session that `colab sessions` shows",
        ) from error


def _has_package() -> bool:
    return importlib.util.find_spec("colab_cli") is not None


def _run(argv: Sequence[str]) -> str:
    """Its output. It can ask nobody: a login that has expired is an error."""
    name = Path(argv[0]).name
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_REFRESH_S,
            check=False,
        )
    except OSError as error:
        raise LinkError(
            f"cannot start {argv[0]}: {error.strerror or error}", INSTALL
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LinkError(
            f"Google's command {name} did not answer within {_REFRESH_S:.0f} s",
            "run `colab sessions` in a terminal: it may want you to log in",
        ) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        said = lines[-1].strip() if lines else "it said nothing"
        raise LinkError(
            f"Google's command {name} failed ({said[:300]})",
            "run `colab sessions` in a terminal: it may want you to log in",
        )
    return done.stdout
