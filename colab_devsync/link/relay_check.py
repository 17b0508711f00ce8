"""Attacks a relay with the keys that were made for it, and says what each achieves.

What a stolen VM key may do is tried, not read from a configuration: logins, shells,
listeners, forwards. Blocks; nothing is left behind on the relay. Any thread.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko

from ..core.events import Ask
from ..errors import AuthFailed, DevsyncError, LinkLost
from .channel import SESSION, Opening, Refusal
from .hostkeys import HostKey, Trust
from .keys import identities, load_identity
from .ssh import PROHIBITED, forward_to
from .transport import ClientTransport
from .wire import dial

_STEP_S = 20.0
_UNIX = "direct-streamlocal@openssh.com"
VM_THERE = "vm there"
_SOCKETS = (
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/dbus/system_bus_socket",
    "/run/systemd/private",
    "/run/systemd/journal/stdout",
    "/run/snapd.socket",
    "/run/mysqld/mysqld.sock",
    "/run/postgresql/.s.PGSQL.5432",
)


@dataclass(frozen=True)
class Finding:
    """One attempt. `ok` None: could not be told, or only worth knowing."""

    name: str
    ok: bool | None
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Relay:
    """What is attacked: its SSH server, and where it shall listen for the VM."""

    host: str
    port: int
    listen_port: int
    trust: Trust


def attack_as_vm(
    relay: Relay, user: str, key_file: Path, ask: Ask, *, occupied: bool = False
) -> Iterator[Finding]:
    """With the VM's key: it must reach nothing but its own listener. `occupied`: a VM
    listens there now, so that nobody else can."""
    key = load_identity(str(key_file)).key
    yield _passwords(relay, user, ask)
    try:
        with _logged_in(relay, user, key, ask) as transport:
            yield Finding("vm login", True, f"{user} is let in with the VM's key")
            yield _listens(relay, transport, occupied)
            yield from _listeners(relay, transport, "vm")
            yield from _forwards(relay, transport, "vm", spared=())
            yield from _programs(relay, user, key, ask, "vm")
    except AuthFailed as error:
        yield Finding("vm login", False, error.message, error.hint)


def attack_as_laptop(
    relay: Relay, user: str, identity_file: str | None, ask: Ask
) -> Iterator[Finding]:
    """With your own key. An account of your own may do more, which is only said."""
    try:
        key = _key_let_in(relay, user, identity_file, ask)
    except DevsyncError as error:
        yield Finding("laptop login", False, error.message, error.hint)
        return
    yield Finding("laptop login", True, f"{user} is let in with your key")
    with _logged_in(relay, user, key, ask) as transport:
        yield from _reaches(relay, transport)
        programs = tuple(_programs(relay, user, key, ask, "laptop"))
        if any(one.ok is False for one in programs):
            text = f"{user} has a shell on the relay: it is an account of your own"
            hint = "`colab-devsync relay setup` makes one that can only reach the VM"
            yield Finding("laptop account", None, text, hint)
            return
        yield from programs
        yield from _listeners(relay, transport, "laptop")
        spared = (("localhost", relay.listen_port),)
        yield from _forwards(relay, transport, "laptop", spared=spared)


# --- what it should be able to do -----------------------------------------------------


def _listens(relay: Relay, transport: ClientTransport, occupied: bool) -> Finding:
    where = f"localhost:{relay.listen_port}"
    if occupied:
        return Finding("vm listener", True, f"a VM listens on the relay's {where} now")
    if _listen(transport, "localhost", relay.listen_port):
        return Finding("vm listener", True, f"the VM may listen on the relay's {where}")
    return Finding(
        "vm listener",
        False,
        f"the VM's key could not listen on the relay's {where}: it is not permitted, "
        "or something else listens there",
        f'check `permitlisten="{where}"` in its authorized_keys, PermitListen in '
        f"sshd's rules, and `ss -ltn` for port {relay.listen_port}",
    )


def _reaches(relay: Relay, transport: ClientTransport) -> Iterator[Finding]:
    where = f"localhost:{relay.listen_port}"
    refusal = _refusal(transport, forward_to("localhost", relay.listen_port))
    if refusal is None:
        yield Finding(VM_THERE, True, f"something answers on the relay's {where}")
    if refusal is None or refusal.code != PROHIBITED:
        yield Finding("laptop way", True, f"your key reaches the relay's {where}")
        return
    yield Finding(
        "laptop way",
        False,
        f"your key may not reach the relay's {where} ({refusal.reason})",
        f'its line needs `permitopen="{where}"`, and the account '
        "`AllowTcpForwarding yes` or `local`",
    )


# --- what it must not be able to do ---------------------------------------------------


def _passwords(relay: Relay, user: str, ask: Ask) -> Finding:
    with _connected(relay, ask) as transport:
        try:
            taken = transport.auth_none(user)
        except paramiko.BadAuthenticationType as error:
            taken = error.allowed_types
        except paramiko.SSHException:
            taken = ["publickey"]
        else:
            text = f"{user} is let in without any key"
            return Finding("passwords", False, text, "lock that account at once")
    open_ways = sorted(set(taken) & {"password", "keyboard-interactive"})
    if open_ways:
        return Finding(
            "passwords",
            False,
            f"{user} may try passwords ({', '.join(open_ways)})",
            "set `PasswordAuthentication no` and `KbdInteractiveAuthentication no` "
            f"for {user}",
        )
    return Finding("passwords", True, f"no password is taken for {user}")


def _listeners(relay: Relay, transport: ClientTransport, who: str) -> Iterator[Finding]:
    near = relay.listen_port + (1 if relay.listen_port < 65535 else -1)
    for name, host, port in (
        ("another port", "localhost", near),
        ("any port", "localhost", 0),
        ("all addresses", "0.0.0.0", relay.listen_port),
        ("all addresses, any port", "0.0.0.0", 0),
        ("the empty address", "", 0),
    ):
        got = _listen(transport, host, port)
        yield _judged(
            f"{who} listens on {name}",
            got,
            f"listen on {host or 'every address'}:{port or 'any port'}",
            "the key's line needs `permitlisten=` with the one port (or one of "
            "no use), the account `GatewayPorts no`",
        )
    path = f"/tmp/.colab-devsync-check-{os.getpid()}"
    yield _judged(
        f"{who} listens on a Unix socket",
        _listen_unix(transport, path),
        f"listen on the Unix socket {path}",
        "set `AllowStreamLocalForwarding no` for that account",
    )


def _forwards(
    relay: Relay,
    transport: ClientTransport,
    who: str,
    *,
    spared: tuple[tuple[str, int], ...],
) -> Iterator[Finding]:
    targets = [
        ("localhost", relay.port),
        ("127.0.0.1", relay.port),
        ("::1", 22),
        ("localhost", relay.listen_port),
        ("localhost", 2),
        ("192.0.2.1", 80),
    ]
    for host, port in targets:
        if (host, port) in spared:
            continue
        refusal = _refusal(transport, forward_to(host, port))
        yield _judged(
            f"{who} reaches {host}:{port}",
            refusal is None or refusal.code != PROHIBITED,
            f"reach {host}:{port} through the relay",
            "the key's line needs a `permitopen=`: without one it reaches all services "
            "of the relay's loopback and network; the VM's account `PermitOpen none`",
        )
    # sshd refuses those with the same words as sockets that are not there
    opened = [
        path for path in _SOCKETS if _refusal(transport, _unix_socket(path)) is None
    ]
    yield _judged(
        f"{who} reaches Unix sockets",
        bool(opened),
        f"reach the Unix socket {opened[0] if opened else 'of any usual service'}",
        "set `AllowStreamLocalForwarding no` for that account",
    )


def _programs(
    relay: Relay, user: str, key: paramiko.PKey, ask: Ask, who: str
) -> Iterator[Finding]:
    """Each on a connection of its own: a login that hangs must not hide the others."""
    mark = os.urandom(8).hex()
    # The shell's own arithmetic: an echo of what we sent is no proof.
    command = f"echo {mark[:8]}$((1+1)){mark[8:]}\n".encode()
    proof = f"{mark[:8]}2{mark[8:]}".encode()
    init = struct.pack(">IBI", 5, 1, 3)  # SFTP's first packet
    attempts = (
        ("commands", b"exec", _string(command), b"", proof),
        ("a shell", b"shell", b"", command + b"exit\n", proof),
        (
            "files by sftp",
            b"subsystem",
            _string(b"sftp"),
            init,
            b"\x02\x00\x00\x00\x03",
        ),
    )
    for name, kind, payload, typed, wanted in attempts:
        with _logged_in(relay, user, key, ask) as transport:
            said = _answer(transport, kind, payload, typed, wanted)
        yield _judged(
            f"{who} has {name}",
            wanted in said,
            f"have {name} on the relay",
            "give the account the shell /usr/sbin/nologin, and `ForceCommand "
            "/usr/sbin/nologin` in sshd's rules",
        )


def _judged(name: str, could: bool, what: str, hint: str) -> Finding:
    if could:
        return Finding(name, False, f"HOLE: it can {what}", hint)
    return Finding(name, True, f"it cannot {what}")


# --- the attempts ---------------------------------------------------------------------


def _listen(transport: ClientTransport, host: str, port: int) -> bool:
    granted = transport.global_request("tcpip-forward", (host, port), wait=True)
    if granted is None:
        _still_there(transport)
        return False
    real = granted.get_int() if port == 0 else port
    transport.global_request("cancel-tcpip-forward", (host, real), wait=True)
    return True


def _listen_unix(transport: ClientTransport, path: str) -> bool:
    kind = "streamlocal-forward@openssh.com"
    if transport.global_request(kind, (path,), wait=True) is None:
        _still_there(transport)
        return False
    transport.global_request(f"cancel-{kind}", (path,), wait=True)
    return True


def _refusal(transport: ClientTransport, opening: Opening) -> Refusal | None:
    channel = transport.open(opening)
    try:
        channel.wait_open()
    except Refusal as refusal:
        return refusal
    channel.close()
    return None


def _answer(
    transport: ClientTransport, kind: bytes, payload: bytes, typed: bytes, wanted: bytes
) -> bytes:
    """What a session says until `wanted` or its end. Its input stays open: an SFTP
    server whose input has ended may go without an answer."""
    channel = transport.open(SESSION)
    said = b""
    try:
        channel.wait_open()
        channel.request(kind, payload)
        if typed:
            channel.write(typed)
        while wanted not in said and len(said) < 65536 and (data := channel.read(4096)):
            said += data
    except (Refusal, LinkLost, DevsyncError):
        return said
    return said


# --- connections ----------------------------------------------------------------------


@contextmanager
def _connected(relay: Relay, ask: Ask) -> Iterator[ClientTransport]:
    """Handshake and host key; ended when the attempt takes too long."""
    transport = ClientTransport(dial(relay.host, relay.port, _STEP_S))
    done = threading.Event()
    try:
        key = transport.handshake(time.monotonic() + _STEP_S)
        relay.trust.check(HostKey(key.get_name(), str(key.fingerprint)), ask)
        threading.Thread(
            target=_end_late,
            args=(done, transport.shut),
            name="devsync-relay-check",
            daemon=True,
        ).start()
        yield transport
    finally:
        done.set()
        transport.shut()


def _end_late(done: threading.Event, end: Callable[[], None]) -> None:
    if not done.wait(3 * _STEP_S):
        end()


@contextmanager
def _logged_in(
    relay: Relay, user: str, key: paramiko.PKey, ask: Ask
) -> Iterator[ClientTransport]:
    with _connected(relay, ask) as transport:
        if not transport.authenticate(user, key, time.monotonic() + _STEP_S):
            raise AuthFailed(
                f"the relay does not let {user} in with {key.get_name()} "
                f"{key.fingerprint}",
                f"its line is missing in ~{user}/.ssh/authorized_keys there, or the "
                "account is locked: `colab-devsync relay setup --apply` cures both",
            )
        yield transport


def _key_let_in(
    relay: Relay, user: str, identity_file: str | None, ask: Ask
) -> paramiko.PKey:
    """The first of your keys that the relay takes. AuthFailed."""
    with identities(identity_file, Path.home()) as keys:
        for identity in keys:
            try:
                with _logged_in(relay, user, identity.key, ask):
                    return identity.key
            except AuthFailed:
                continue
    raise AuthFailed(
        f"the relay lets {user} in with none of your keys",
        "`colab-devsync relay setup` prints the line for its authorized_keys",
    )


def _still_there(transport: ClientTransport) -> None:
    """A lost connection must not look like a refusal."""
    if not transport.is_active():
        raise LinkLost(transport.loss(), "the relay hung up; try again")


def _unix_socket(path: str) -> Opening:
    payload = _string(path.encode()) + _string(b"") + bytes(4)
    return Opening(_UNIX, path, payload)


def _string(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text
