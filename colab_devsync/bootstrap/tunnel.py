"""The tunnel from the VM outwards, kept up by a process of its own.

`open_tunnel` starts that supervisor, or finds it running; it outlives the notebook's
cell and kernel. `supervise` is its main loop. What it does stands in tunnel.json.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any, Callable, Dict, List, NamedTuple, Optional

assert sys.platform != "win32"  # runs on the VM only

from .settings import (
    REFUSED,
    BootstrapError,
    Settings,
    last_lines,
    process_of,
    read_file,
    read_json,
    run,
    write_file,
)

SUPERVISE = "--supervise"
FIRST_S = 25.0  # for a tunnel to come up before the cell goes on
_POLL_S = 0.1
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 10.0)
_STEADY_S = 30.0  # a tunnel that lived so long starts again with the first pause
_CHECK_S = 1.0
_UP = "remote forward success"
_MAX_LOG = 1 << 20

Report = Callable[..., None]


class Tunnel(NamedTuple):
    """What is known of it. `state`: "none", "starting", "up", "waiting" (for the
    next try), "refused" (tried again, but told no), "failed" (for good)."""

    state: str
    message: str = ""
    endpoint: str = ""  # ngrok: "0.tcp.example.com:12345"
    since: float = 0.0
    pid: int = 0


def open_tunnel(settings: Settings, secret: Optional[str]) -> Tunnel:
    """Starts it, or finds it up; waits a moment for it. BootstrapError."""
    if settings.provider == "relay":
        pin_relay(settings)
    running = read_json(settings.path("tunnel.json"))
    is_right = running.get("digest") == settings.digest()
    # One that was refused may have a better secret now.
    if not is_supervised(settings) or not is_right or running.get("state") == REFUSED:
        close_tunnel(settings)
        _spawn(settings, secret)
    deadline = time.monotonic() + FIRST_S
    while time.monotonic() < deadline and is_supervised(settings):
        found = tunnel_of(settings)
        if found.state in ("up", REFUSED, "failed"):
            return found
        time.sleep(_POLL_S)
    return tunnel_of(settings)


def close_tunnel(settings: Settings) -> bool:
    """Ends it and waits for that. False if there is none."""
    pid = is_supervised(settings)
    if not pid:
        return False
    os.kill(pid, signal.SIGTERM)
    with open(settings.path("tunnel.lock"), "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it holds the lock until its end
    return True


def is_supervised(settings: Settings) -> int:
    """The supervisor's pid, 0 if there is none."""
    return process_of(settings.path("tunnel.pid"), SUPERVISE)


def tunnel_of(settings: Settings) -> Tunnel:
    """How it stands now."""
    found = read_json(settings.path("tunnel.json"))
    alive = is_supervised(settings)
    state = str(found.get("state", "none"))
    if not alive and state != "failed":
        state = "none"
    return Tunnel(
        state,
        str(found.get("message", "")),
        str(found.get("endpoint", "")),
        float(found.get("since", 0.0)),
        alive,
    )


# --- the relay's host key -------------------------------------------------------------


def fingerprint(blob: str) -> str:
    """SHA256:... of a public key in base64, as ssh shows it."""
    digest = hashlib.sha256(base64.b64decode(blob)).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


def pin_relay(settings: Settings) -> None:
    """Writes known_hosts with the relay's keys that have the given fingerprint.
    BootstrapError: none has, or nobody answers."""
    wanted = set(re.findall(r"SHA256:[A-Za-z0-9+/]{43}", settings.relay_host_key))
    wanted |= {
        fingerprint(key)
        for key in re.findall(r"AAAA[A-Za-z0-9+/]{40,}={0,2}", settings.relay_host_key)
    }
    path = settings.path("known_hosts")
    if wanted and wanted <= set(map(_key_of, read_file(path).splitlines())):
        return
    host, port = settings.relay_address
    done = run(["ssh-keyscan", "-T", "15", "-p", str(port), host])
    lines = [one for one in done.stdout.splitlines() if one and one[0] != "#"]
    if not lines:
        raise BootstrapError(
            "The relay %s:%d does not answer as an SSH server. Check `relay`, and that "
            "its port can be reached from the internet." % (host, port)
        )
    if not wanted:
        raise BootstrapError(
            "The relay's host key is not given, and a false relay could stand in "
            "between. It shows:\n  %s\nCompare with `ssh-keygen -lf "
            "/etc/ssh/ssh_host_ed25519_key.pub` there, or `colab-devsync relay check`, "
            "and put the right one into `relay_host_key`."
            % "\n  ".join("%s (%s)" % (_key_of(one), one.split()[1]) for one in lines)
        )
    kept = [one for one in lines if _key_of(one) in wanted]
    if not kept:
        raise BootstrapError(
            "THE RELAY %s:%d HAS ANOTHER HOST KEY than `relay_host_key` says. It was "
            "set up anew, or somebody is in between; nothing was sent. It shows:\n  %s"
            % (host, port, "\n  ".join(map(_key_of, lines)))
        )
    write_file(path, "\n".join(kept) + "\n")


def _key_of(line: str) -> str:
    """The fingerprint of one line of known_hosts."""
    words = line.split()
    return fingerprint(words[2]) if len(words) > 2 else ""


# --- the supervisor -------------------------------------------------------------------


def relay_command(settings: Settings) -> List[str]:
    """The one tunnel: no shell, one listener, on the relay's loopback only."""
    host, port = settings.relay_address
    known = settings.path("known_hosts")
    options = (
        "ExitOnForwardFailure=yes",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=2",
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "UserKnownHostsFile=" + known,
        "GlobalKnownHostsFile=/dev/null",
        "UpdateHostKeys=no",
        "IdentitiesOnly=yes",
        "ConnectTimeout=20",
    )
    forward = "localhost:%d:localhost:%d" % (settings.relay_port, settings.sshd_port)
    argv = ["ssh", "-N", "-v", "-F", "/dev/null"]
    for option in options:
        argv += ["-o", option]
    argv += ["-i", settings.path("relay_key"), "-p", str(port), "-R", forward]
    return [*argv, "%s@%s" % (settings.relay_user, host)]


def supervise() -> None:
    """The process of its own: reads settings and secret from stdin, never returns."""
    job = json.loads(sys.stdin.readline())
    job["settings"]["watched"] = tuple(job["settings"]["watched"])
    settings = Settings(**job["settings"])
    lock = os.open(settings.path("tunnel.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # the one before us has been told to go
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    def report(state: str, message: str = "", endpoint: str = "") -> None:
        body = {"state": state, "message": message, "endpoint": endpoint}
        body["digest"] = settings.digest()
        write_file(
            settings.path("tunnel.json"), json.dumps(dict(body, since=time.time()))
        )
        print(time.strftime("%H:%M:%S"), state, message, endpoint, flush=True)

    report("starting")
    write_file(settings.path("tunnel.pid"), "%d\n" % os.getpid())
    if settings.provider == "ngrok":
        _keep(lambda: _ngrok(settings, job["secret"], report), report)
    else:
        _keep(lambda: _relay(settings, report), report)


class _Hopeless(Exception):
    """Trying again would change nothing."""


class _Refused(Exception):
    """Told no: it goes on trying, but a person should do something."""


def _keep(once: Callable[[], str], report: Report) -> None:
    """`once` holds a tunnel until it ends and says why."""
    failures = 0
    while True:
        began = time.monotonic()
        try:
            state, why = "waiting", once()
        except _Hopeless as error:
            report("failed", str(error))
            return
        except _Refused as error:
            state, why = REFUSED, str(error)
        failures = 0 if time.monotonic() - began > _STEADY_S else failures + 1
        pause = _PAUSES_S[min(max(failures, 1), len(_PAUSES_S)) - 1]
        report(state, "%s; next try in %.0f s" % (why, pause))
        time.sleep(pause)


def _relay(settings: Settings, report: Report) -> str:
    pid_file = settings.path("ssh.pid")
    orphan = process_of(pid_file, settings.path("known_hosts"))
    if orphan:  # its supervisor was killed; it would hold the port
        os.kill(orphan, signal.SIGKILL)
    try:
        process = subprocess.Popen(
            relay_command(settings), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise _Hopeless("ssh cannot be started (%s)" % error) from error
    write_file(pid_file, "%d\n" % process.pid)
    try:
        return _follow(process, report)
    finally:
        process.kill()
        process.wait()


def _follow(process: "subprocess.Popen[bytes]", report: Report) -> str:
    """Reads what ssh says until it ends, or hangs."""
    assert process.stderr is not None
    pipe, rest = process.stderr.fileno(), b""
    said: List[str] = []
    while True:
        if not select.select([pipe], [], [], _CHECK_S)[0]:
            if _is_stopped(process.pid):
                return "ssh was stopped; a new one takes its place"
            continue
        data = os.read(pipe, 65536)
        if not data:
            return _reason(said)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace").strip()
            if _UP in text:
                report("up")
            elif text and not text.startswith(("debug1:", "OpenSSH_", "Authenticated")):
                said.append(text)


def _is_stopped(pid: int) -> bool:
    """SIGSTOP, a debugger: it answers nothing, and keeps its port on the relay."""
    return read_file("/proc/%d/stat" % pid).rpartition(")")[2].split()[:1] in (
        ["T"],
        ["t"],
    )


def _reason(said: List[str]) -> str:
    text = said[-1] if said else "the connection to the relay ended"
    whole = "\n".join(said)
    if "Host key verification failed" in whole:
        raise _Hopeless("the relay's host key is not the one in known_hosts")
    if "Permission denied" in whole:
        raise _Refused(
            text + ": the relay does not take the key; see `colab-devsync relay check`"
        )
    if "remote port forwarding failed" in whole:
        return text + ": the port is still held by the VM before, or not permitted"
    return text


def _ngrok(settings: Settings, token: str, report: Report) -> str:
    """Holds an ngrok TCP endpoint; its library reconnects by itself."""
    ngrok = _ngrok_library()
    try:
        listener = ngrok.forward(
            "localhost:%d" % settings.sshd_port,
            "tcp",
            authtoken=token,
            metadata="devsync:%s" % (settings.mark or settings.name),
        )
    except Exception as error:  # noqa: BLE001 - the wheel raises ValueError and others
        text = str(error).replace(token, "...") if token else str(error)
        raise _Refused("ngrok: %s" % text) from None
    report("up", endpoint=listener.url().partition("://")[2])
    while True:
        time.sleep(3600)


def _ngrok_library() -> Any:
    try:
        import ngrok  # type: ignore[import-not-found,unused-ignore]  # on the VM only
    except ImportError:
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "ngrok"]
        if subprocess.call(argv) != 0:
            raise _Hopeless("pip could not install the package ngrok") from None
        import ngrok  # type: ignore[import-not-found,unused-ignore]
    return ngrok


def _spawn(settings: Settings, secret: Optional[str]) -> None:
    """The secret travels through a pipe: it is in no command line and no file."""
    path = settings.path("tunnel.log")
    fresh = os.path.exists(path) and os.path.getsize(path) > _MAX_LOG
    job: Dict[str, Any] = {"settings": asdict(settings), "secret": secret}
    with open(path, "w" if fresh else "a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), SUPERVISE],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(json.dumps(job).encode("utf-8") + b"\n")
    deadline = time.monotonic() + FIRST_S
    while is_supervised(settings) != process.pid:
        if process.poll() is not None or time.monotonic() > deadline:
            raise BootstrapError(
                "The tunnel's supervisor did not start.\n%s" % last_lines(path)
            )
        time.sleep(_POLL_S)
