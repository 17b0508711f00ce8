"""What one way in needs on the VM, and the files it keeps there. Main thread."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Tuple

assert sys.platform != "win32"  # runs on the VM only

PROVIDERS = ("relay", "ngrok", "direct", "command", "colab")
REFUSED = "refused"
"""State of a tunnel that is tried again, but was told no."""
_PUBLIC_KEY = re.compile(
    r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-[a-z0-9@.-]+)"
    r" [A-Za-z0-9+/]+={0,3}( [^\x00-\x1f]*)?\Z"
)


class BootstrapError(Exception):
    """What failed, where, and what to do next: one text for people."""


@dataclass(frozen=True)
class Settings:
    """The form of the notebook, and the options of the script."""

    name: str = "project"
    provider: str = "direct"
    mark: str = ""  # ngrok: how your machine finds the endpoint; default: the name
    root: str = "/content/project"  # the project's folder on this VM
    public_key: str = ""  # who may log in: one public key per line
    sshd_port: int = 2222  # on 127.0.0.1
    host: str = ""  # direct: what your own tunnel is called from outside
    port: int = 22
    relay: str = ""  # relay: "vps.example.com:22"
    relay_user: str = "colab"  # this VM's account there
    relay_port: int = 10022  # where the relay listens for this VM
    relay_host_key: str = ""  # "SHA256:..."
    via: str = ""  # your own account there: "me@vps.example.com:22"
    watched: Tuple[str, ...] = ()  # folders that are pulled, shown by `stay`
    folder: str = "~/.colab-devsync/link"

    def path(self, *names: str) -> str:
        return os.path.join(os.path.expanduser(self.folder), *names)

    @property
    def relay_address(self) -> Tuple[str, int]:
        """Host and port of the relay. BootstrapError."""
        where = self.relay.strip().rpartition("@")[2]
        host, colon, port = where.rpartition(":")
        if not colon or where.endswith("]"):
            host, port = where, "22"
        host = host.strip("[]")
        if not host or host.startswith("-") or not port.isdigit():
            raise BootstrapError(
                "The relay is %r; expected a host and a port, as in "
                "vps.example.com:22." % self.relay
            )
        return host, int(port)

    def keys(self) -> List[str]:
        """The public keys that may log in. BootstrapError: none, or no public keys."""
        lines = [line.strip() for line in self.public_key.splitlines()]
        found = [line for line in lines if line and not line.startswith("#")]
        for line in found:
            if not _PUBLIC_KEY.match(line):
                raise BootstrapError(
                    "This is no public key: %.40s... Paste the one line of your .pub "
                    "file, as in: ssh-ed25519 AAAA... me@laptop" % line
                )
        if not found:
            raise BootstrapError(
                "No public key was given, so nobody could log in. On your own machine "
                "`cat ~/.ssh/id_ed25519.pub` shows it (`ssh-keygen -t ed25519` makes "
                "one). Paste that line into `public_key`."
            )
        return found

    def digest(self) -> str:
        """Equal for equal settings: is a tunnel that runs still the right one?"""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def run(
    argv: List[str], timeout_s: float = 60, environ: Optional[Dict[str, str]] = None
) -> "subprocess.CompletedProcess[str]":
    """A program without input, to its end. BootstrapError: it can't start or takes
    too long."""
    try:
        return subprocess.run(
            argv,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=timeout_s,
        )
    except OSError as error:
        raise BootstrapError("Cannot start %s: %s." % (argv[0], error)) from error
    except subprocess.TimeoutExpired as error:
        raise BootstrapError(
            "%s was not done after %.0f s. Run this again; if it goes on, choose "
            "Runtime, then Disconnect and delete, and take a new runtime."
            % (" ".join(argv[:2]), timeout_s)
        ) from error


def make_folder(settings: Settings) -> None:
    """The folder of our files, readable by its owner alone."""
    path = settings.path()
    os.makedirs(path, mode=0o700, exist_ok=True)
    os.chmod(path, 0o700)


def user_name() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def write_file(path: str, text: str) -> bool:
    """Replaces a private file as a whole; False if it had that text already."""
    if read_file(path) == text:
        return False
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".new-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)  # mkstemp made it 0600
    return True


def read_file(path: str) -> str:
    """ "" if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def read_json(path: str) -> Dict[str, Any]:
    """{} if there is none, or it is being written."""
    try:
        found = json.loads(read_file(path))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def last_lines(path: str, count: int = 5) -> str:
    return "\n".join(read_file(path).splitlines()[-count:])


def process_of(pid_file: str, mark: str) -> int:
    """The pid in `pid_file` if that process lives and has `mark` in its command line,
    else 0: a number alone may have become somebody else's."""
    text = read_file(pid_file).strip()
    if not text.isdigit():
        return 0
    try:
        with open("/proc/%s/cmdline" % text, "rb") as file:
            command = file.read().decode("utf-8", "replace")
    except OSError:
        return 0
    return int(text) if mark in command.replace("\0", " ") else 0
