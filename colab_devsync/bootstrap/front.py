"""What a person sees: the connect string, and how link, GPU, runs and files stand.

Reads files and /proc; starts and changes nothing. Main thread.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from typing import Any, List, Tuple
from urllib.parse import quote

assert sys.platform != "win32"  # runs on the VM only

from .server import Server, banner
from .settings import Settings, read_file, read_json
from .tunnel import Tunnel, tunnel_of

_ESTABLISHED = "01"
_RUNS = 5
_FILES = 3

TERMS = """\
Colab's rules, in plain words: on a runtime without a paid compute-unit balance,
Google's FAQ forbids SSH and other remote control, and such a runtime may end without
warning. "Connecting to remote proxies" is forbidden on every managed runtime, and a
tunnel through another machine may count as that. Read the current text and decide:
https://research.google.com/colaboratory/faq.html
Nothing here clicks, pings or pretends to work to keep a runtime alive."""


def connect_string(settings: Settings, server: Server, tunnel: Tunnel) -> str:
    """What `colab-devsync connect` takes; "" while the way in is not known."""
    pin = quote(server.fingerprint, safe=":/")  # a bare "+" would mean a space
    if settings.provider == "relay":
        via = quote(settings.via or settings.relay, safe="@:[]")
        where, pin = "localhost:%d?via=%s&" % (settings.relay_port, via), "hk=" + pin
    elif settings.provider == "ngrok":
        if not tunnel.endpoint:
            return ""
        where, pin = tunnel.endpoint + "?", "hk=" + pin
    elif settings.host:
        host = "[%s]" % settings.host if ":" in settings.host else settings.host
        where, pin = "%s:%d?" % (host, settings.port), "hk=" + pin
    else:
        return ""
    return "devsync://%s@%s%s" % (server.user, where, pin)


def introduction(settings: Settings, server: Server, tunnel: Tunnel) -> str:
    """The last cell's text."""
    lines = [
        "SSH server    127.0.0.1:%d, user %s, keys only" % (server.port, server.user),
        "host key      %s" % server.fingerprint,
        "tunnel        %s" % tunnel_text(settings, tunnel),
    ]
    text = connect_string(settings, server, tunnel)
    if text:
        lines += ["", "On your own machine, in the project's folder:", ""]
        lines += ["    colab-devsync connect '%s'" % text]
    elif settings.provider in ("direct", "command"):
        lines += [
            "",
            "Lead your own tunnel to 127.0.0.1:%d, then connect to its other "
            "end." % server.port,
        ]
    return "\n".join(lines)


def tunnel_text(settings: Settings, tunnel: Tunnel) -> str:
    if settings.provider in ("direct", "command"):
        return "your own, to 127.0.0.1:%d" % settings.sshd_port
    if settings.provider == "colab":
        return "none needed: Google's own SSH endpoint"
    text = tunnel.state
    if tunnel.state == "up":
        where = tunnel.endpoint
        if settings.provider == "relay":
            where = "%s listens on its localhost:%d" % (
                settings.relay_address[0],
                settings.relay_port,
            )
        text = "up for %s, %s" % (_age(time.time() - tunnel.since), where)
    return "%s (%s)" % (text, tunnel.message) if tunnel.message else text


def stay(settings: Settings, every_s: float = 5.0, looks: int = 0) -> None:
    """Shows the state again and again, until it is interrupted (or `looks` times).

    An ordinary cell that executes: it neither clicks nor touches the page.
    """
    done = 0
    try:
        while True:
            _show(report(settings))
            done += 1
            if looks and done >= looks:
                return
            time.sleep(every_s)
    except KeyboardInterrupt:
        print("\nStopped showing. The link and the runs go on.")


def report(settings: Settings) -> str:
    """One look."""
    rows = [("time", time.strftime("%Y-%m-%d %H:%M:%S")), ("link", _link(settings))]
    rows += [("gpu", line) for line in _gpu() or ["none seen"]]
    rows += [("run", line) for line in _runs(settings.root) or ["none yet"]]
    rows += [("pulled from", line) for line in _files(settings)]
    return "\n".join("%-12s  %s" % row for row in rows)


def _show(text: str) -> None:
    try:
        from IPython import display  # type: ignore[import-not-found,unused-ignore]  # in a notebook
    except ImportError:
        print(text + "\n", flush=True)
        return
    clear: Any = display.clear_output
    clear(wait=True)
    print(text, flush=True)


def _link(settings: Settings) -> str:
    if settings.provider == "colab":
        return tunnel_text(settings, Tunnel("none"))
    up = "answers" if banner(settings.sshd_port) else "DOES NOT ANSWER"
    tunnel = tunnel_text(settings, tunnel_of(settings))
    count = _connections(settings.sshd_port)
    return "SSH server %s, %d connected; tunnel %s" % (up, count, tunnel)


def _connections(port: int) -> int:
    """Established connections to the port on this machine, ours to look at it aside."""
    wanted = ":%04X" % port
    rows = [line.split() for line in read_file("/proc/net/tcp").splitlines()[1:]]
    return sum(row[1].endswith(wanted) and row[3] == _ESTABLISHED for row in rows)


def _gpu() -> List[str]:
    ask = "--query-gpu=name,utilization.gpu,memory.used,memory.total"
    try:
        done = subprocess.run(
            ["nvidia-smi", ask, "--format=csv,noheader"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            universal_newlines=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def _runs(root: str) -> List[str]:
    """The newest runs, as the agent's files in the project's folder tell of them."""
    folder = os.path.join(os.path.expanduser(root), ".colab-devsync", "runs")
    found: List[Tuple[float, str]] = []
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    for name in names:
        spec = read_json(os.path.join(folder, name, "spec.json"))
        if "pid" in spec:
            text = "%s: %s" % (name, _state(os.path.join(folder, name), spec))
            found.append((float(spec.get("started") or 0), text))
    return [text for _, text in sorted(found)[-_RUNS:]]


def _state(folder: str, spec: "dict[str, object]") -> str:
    status = read_json(os.path.join(folder, "status.json"))
    if status:
        code = status.get("code")
        return "ended" if code is None else "ended with exit code %s" % code
    if not _is_locked(os.path.join(folder, "lock")):
        return "lost"
    return "running for %s" % _age(time.time() - float(str(spec.get("started") or 0)))


def _is_locked(path: str) -> bool:
    """A run's keeper holds its lock for as long as it lives."""
    try:
        with open(path, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _files(settings: Settings) -> List[str]:
    """The newest file of each folder that your machine pulls from."""
    lines = []
    for name in settings.watched:
        folder = os.path.join(os.path.expanduser(settings.root), name)
        newest = sorted(_times(folder), reverse=True)[:_FILES]
        now = time.time()
        shown = ["%s (%s old)" % (file, _age(now - mtime)) for mtime, file in newest]
        lines.append("%s: %s" % (name, ", ".join(shown) or "nothing yet"))
    return lines


def _times(folder: str) -> List[Tuple[float, str]]:
    try:
        with os.scandir(folder) as entries:
            return [
                (entry.stat().st_mtime, entry.name)
                for entry in entries
                if entry.is_file(follow_symlinks=False)
            ]
    except OSError:
        return []  # it is made when the first file is


def _age(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 60:
        return "%.0f s" % seconds
    minutes = int(seconds // 60)
    return "%d min" % minutes if minutes < 60 else "%d h %d min" % divmod(minutes, 60)
