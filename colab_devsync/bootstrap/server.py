"""The VM's SSH server: our own configuration, port and host key, on 127.0.0.1 only.

Leaves /etc/ssh and the VM's own sshd alone. Running it again changes only what has to
change: a server that runs goes on, with its sessions and its host key. Main thread.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
import time
from typing import Callable, Dict, Mapping, NamedTuple, Optional

assert sys.platform != "win32"  # runs on the VM only

from .settings import (
    BootstrapError,
    Settings,
    last_lines,
    make_folder,
    process_of,
    read_file,
    run,
    user_name,
    write_file,
)

Say = Callable[[str], None]

_READY_S = 15.0
_LOOK_S = 0.05
_INSTALL_S = 600
_NVIDIA = "/usr/lib64-nvidia"
_HANDED_ON = re.compile(
    r"(PATH|LD_LIBRARY_PATH|LIBRARY_PATH|COLAB_GPU|COLAB_TPU_ADDR|"
    r"TF_FORCE_GPU_ALLOW_GROWTH|(CUDA|NVIDIA|TPU|XRT|TBE)_[A-Z0-9_]*)\Z"
)
_PRIVATE = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY")

_CONFIG = """\
# Written by colab-devsync. Keys only, reachable from this machine only.
ListenAddress 127.0.0.1
Port {port}
HostKey "{folder}/host_key"
PidFile "{folder}/sshd.pid"
AuthorizedKeysFile "{folder}/authorized_keys"
AllowUsers {user}
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxAuthTries 3
MaxSessions 64
UsePAM no
UseDNS no
PrintMotd no
AllowAgentForwarding no
AllowTcpForwarding yes
GatewayPorts no
X11Forwarding no
PermitTunnel no
ClientAliveInterval 30
ClientAliveCountMax 4
Subsystem sftp internal-sftp
{environment}"""


class Server(NamedTuple):
    """An SSH server that answers."""

    user: str
    port: int
    fingerprint: str  # "SHA256:..." of its host key
    started: bool  # False: it ran already


def start_server(settings: Settings, say: Say) -> Server:
    """Makes sure that the server runs as `settings` say. BootstrapError."""
    keys = settings.keys()
    binary = find_sshd() or _install(say)
    _refuse_locked()
    make_folder(settings)
    _make_host_key(settings)
    config = settings.path("sshd_config")
    write_file(settings.path("authorized_keys"), "\n".join(keys) + "\n")
    write_file(config, config_text(settings, os.environ))
    _check(binary, config)
    pid = process_of(settings.path("sshd.pid"), config)
    if not pid:
        _refuse_taken(settings.sshd_port)
        _start(binary, settings)
    elif _is_newer(config, settings.path("sshd.pid")):
        _reload(pid, settings)
    user = user_name()
    return Server(user, settings.sshd_port, fingerprint_of(settings), not pid)


def stop_server(settings: Settings) -> bool:
    """Ends our server, not the sessions that are open. False if none runs."""
    pid = process_of(settings.path("sshd.pid"), settings.path("sshd_config"))
    if pid:
        os.kill(pid, signal.SIGTERM)
    return bool(pid)


def config_text(settings: Settings, environ: Mapping[str, str]) -> str:
    """All of sshd_config, deterministic."""
    # sshd reads only the first SetEnv line: all pairs stand on one.
    pairs = ["%s=%s" % pair for pair in sorted(handed_on(environ).items())]
    quoted = " ".join(map(_quoted, pairs))
    return _CONFIG.format(
        port=settings.sshd_port,
        folder=settings.path(),
        user=user_name(),
        environment="SetEnv %s\n" % quoted if quoted else "",
    )


def handed_on(environ: Mapping[str, str]) -> Dict[str, str]:
    """What SSH sessions get of the notebook's environment: without it, torch sees no
    GPU. Chosen by name; secrets and the notebook's own settings stay out."""
    found = {
        name: value
        for name, value in environ.items()
        if _HANDED_ON.match(name)
        and not _PRIVATE.search(name)
        and not re.search(r"[\x00-\x1f]", value)
    }
    libraries = [one for one in found.get("LD_LIBRARY_PATH", "").split(":") if one]
    if os.path.isdir(_NVIDIA) and _NVIDIA not in libraries:
        found["LD_LIBRARY_PATH"] = ":".join([_NVIDIA, *libraries])
    return found


def fingerprint_of(settings: Settings) -> str:
    """SHA256:... of the host key, as ssh shows it. BootstrapError."""
    public = settings.path("host_key.pub")
    done = run(["ssh-keygen", "-l", "-E", "sha256", "-f", public])
    words = done.stdout.split()
    if done.returncode != 0 or len(words) < 2:
        raise BootstrapError("Cannot read the host key %s: %s" % (public, done.stderr))
    return words[1]


def find_sshd() -> Optional[str]:
    """By its full path, as it must be called."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin"
    return shutil.which("sshd", path=path)


def _install(say: Say) -> str:
    """Debian's and Ubuntu's package. BootstrapError."""
    say("The SSH server is not installed yet: apt-get install openssh-server ...")
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise BootstrapError(
            "sshd is not installed, and this is no place where apt-get can install it "
            "(it needs root on Debian or Ubuntu). Install the OpenSSH server yourself."
        )
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    steps = (["update", "-qq"], ["install", "-qq", "-y", "openssh-server"])
    for step in steps:
        done = run([apt, *step], _INSTALL_S, environment)
        # A broken list of some other source need not stop the installation.
        if done.returncode != 0 and step[0] == "install":
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
            raise BootstrapError(
                "apt-get could not install openssh-server; its last words:\n%s\n"
                "Run this again; if it goes on, choose Runtime, then Disconnect and "
                "delete, and take a new runtime." % tail
            )
    binary = find_sshd()
    if binary is None:
        raise BootstrapError("openssh-server was installed, but there is no sshd.")
    return binary


def _refuse_locked() -> None:
    """ "!" in the place of the password: sshd without PAM lets no key in either."""
    if os.geteuid() != 0:
        return
    for line in read_file("/etc/shadow").splitlines():
        name, _, rest = line.partition(":")
        if name == user_name() and rest.startswith("!"):
            raise BootstrapError(
                "The account %s is locked, so no key gets in either. `usermod -p '*' "
                "%s` unlocks it for keys, still without a password." % (name, name)
            )


def _make_host_key(settings: Settings) -> None:
    """One per VM, kept for as long as it lives."""
    key = settings.path("host_key")
    if os.path.exists(key) and os.path.exists(key + ".pub"):
        return
    for path in (key, key + ".pub"):
        if os.path.exists(path):
            os.unlink(path)
    done = run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key])
    if done.returncode != 0:
        raise BootstrapError("ssh-keygen made no host key: %s" % done.stderr.strip())


def _check(binary: str, config: str) -> None:
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    done = run([binary, "-t", "-f", config])
    if done.returncode != 0:
        raise BootstrapError(
            "sshd does not accept %s: %s" % (config, done.stderr.strip())
        )


def _start(binary: str, settings: Settings) -> None:
    config, log = settings.path("sshd_config"), settings.path("sshd.log")
    done = run([binary, "-f", config, "-E", log])
    if done.returncode == 0 and _wait(lambda: banner(settings.sshd_port)):
        return
    raise BootstrapError(
        "sshd does not answer on 127.0.0.1:%d. %s\n%s"
        % (settings.sshd_port, done.stderr.strip(), last_lines(log))
    )


def _reload(pid: int, settings: Settings) -> None:
    """New settings for new connections; those that are open go on."""
    config, pid_file = settings.path("sshd_config"), settings.path("sshd.pid")
    os.kill(pid, signal.SIGHUP)
    # It writes its pid anew when it listens again.
    if not _wait(lambda: _is_newer(pid_file, config) and banner(settings.sshd_port)):
        raise BootstrapError(
            "sshd did not come back with its new settings.\n%s"
            % last_lines(settings.path("sshd.log"))
        )


def _is_newer(path: str, other: str) -> bool:
    """False while one of them is missing: sshd removes its pid as it starts anew."""
    try:
        return os.stat(path).st_mtime_ns > os.stat(other).st_mtime_ns
    except FileNotFoundError:
        return False


def banner(port: int) -> bool:
    """Whether an SSH server answers there."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as probe:
            return probe.recv(4) == b"SSH-"
    except OSError:
        return False


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BootstrapError(
                "Port %d on this machine is not free (%s). Choose another `sshd_port`."
                % (port, error.strerror)
            ) from error


def _wait(look: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _READY_S
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def _quoted(text: str) -> str:
    return '"%s"' % text.replace("\\", "\\\\").replace('"', '\\"')
