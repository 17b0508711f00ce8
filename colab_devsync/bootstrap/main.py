"""The steps that the notebook's cells and the command line call. Main thread."""

from __future__ import annotations

import argparse
import fcntl
import sys
from dataclasses import fields, replace
from typing import List, Optional

assert sys.platform != "win32"  # runs on the VM only

from .front import TERMS, introduction, report, stay
from .secret import secret_of
from .server import Server, fingerprint_of, start_server, stop_server
from .settings import (
    PROVIDERS,
    BootstrapError,
    Settings,
    last_lines,
    make_folder,
    user_name,
)
from .tunnel import (
    SUPERVISE,
    Tunnel,
    close_tunnel,
    open_tunnel,
    supervise,
    tunnel_of,
)

DEFAULTS = Settings()
"""What the project's link says; colab-devsync writes it in when it makes the script."""


def say(text: str) -> None:
    print(text, flush=True)


def run_server(settings: Settings) -> Server:
    """First step: the SSH server. Run again, it finds the server running."""
    make_folder(settings)
    with open(settings.path("setup.lock"), "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = start_server(settings, say)
    how = "started" if server.started else "runs already"
    say("SSH server on 127.0.0.1:%d: %s." % (server.port, how))
    return server


def run_tunnel(settings: Settings) -> Tunnel:
    """Second step: the way out. Run again, it finds the tunnel up."""
    if settings.provider not in ("relay", "ngrok"):
        return Tunnel("none")
    make_folder(settings)
    secret = secret_of(settings)
    with open(settings.path("setup.lock"), "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tunnel = open_tunnel(settings, secret)
    say("Tunnel: %s %s" % (tunnel.state, tunnel.message or tunnel.endpoint))
    if tunnel.state in ("failed", "none"):
        why = tunnel.message or "its supervisor ended; " + last_lines(
            settings.path("tunnel.log")
        )
        raise BootstrapError("The tunnel is down for good: %s." % why)
    return tunnel


def show(settings: Settings, stay_in_front: bool = False) -> None:
    """Last step: the line to connect with, and if wanted the state, until stopped."""
    if settings.provider != "colab":
        server = Server(
            user_name(), settings.sshd_port, fingerprint_of(settings), started=False
        )
        say(introduction(settings, server, tunnel_of(settings)))
    else:
        say(report(settings))
    if stay_in_front:
        stay(settings)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Lets colab-devsync in to this machine: an SSH server on 127.0.0.1 "
        "and a tunnel to it. Running it again changes only what has to change.",
        epilog=TERMS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for field in fields(Settings):
        value = getattr(DEFAULTS, field.name)
        if field.name == "watched":
            continue
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=type(value),
            default=value,
            choices=PROVIDERS if field.name == "provider" else None,
            help="default: %s" % (value if value != "" else "none"),
        )
    parser.add_argument("--stay", action="store_true", help="go on showing the state")
    parser.add_argument("--stop", action="store_true", help="end server and tunnel")
    parser.add_argument(SUPERVISE, action="store_true", help=argparse.SUPPRESS)
    return parser


def main(arguments: Optional[List[str]] = None) -> int:
    chosen = vars(options().parse_args(arguments))
    if chosen.pop("supervise"):
        supervise()
        return 0
    stays, stops = chosen.pop("stay"), chosen.pop("stop")
    settings = replace(DEFAULTS, **chosen)
    try:
        if stops:
            ended = {"tunnel": close_tunnel, "server": stop_server}
            what = " and ".join(name for name, end in ended.items() if end(settings))
            say("Stopped: %s." % (what or "nothing was running"))
            return 0
        if settings.provider != "colab":
            run_server(settings)
        tunnel = run_tunnel(settings)
        show(settings, stay_in_front=stays)
    except (BootstrapError, OSError) as error:  # the latter: a full disk, say
        print("error: %s" % error, file=sys.stderr)
        return 1
    return 0 if tunnel.state in ("none", "up") else 1


if __name__ == "__main__":
    sys.exit(main())
