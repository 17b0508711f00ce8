"""A stand-in for Colab: `/colab/ssh` with its contract, in front of a real sshd.

`FakeColab` starts this file as a program. One connection at a time (429), a token
(401), an Ed25519 or ECDSA key in the header (400), 404 where a runtime has no SSH, 502
when its sshd is down; Google's own command 0.7.5 works with it. It also writes the
session file of that command, and `fake_cli` makes a program that does the same to it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from colab_devsync.link.colab.websocket import SharedSocket

PIECE = 64 << 10
KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class FakeColab:
    """Runs until `close`. `folder` gets the certificate and the session file."""

    def __init__(self, folder: Path, sshd_port: int, authorized_keys: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.sessions = folder / "sessions.json"
        self.certificate, key = folder / "cert.pem", folder / "key.pem"
        if not self.certificate.exists():
            _make_certificate(self.certificate, key)
        self._process = subprocess.Popen(
            [
                *(sys.executable, __file__, str(sshd_port), str(authorized_keys)),
                *(str(self.certificate), str(key)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._read()["port"])
        self.tell(tokens=["right-token"])
        self.add_session("train")

    def __enter__(self) -> FakeColab:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def tell(self, **settings: Any) -> dict[str, Any]:
        """`tokens`: those that are good; `status`: of every answer, 0 = by the rules;
        `sshd`: its port; `drop`: ends all connections. Returns what was counted."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(settings) + "\n")
        self._process.stdin.flush()
        return self._read()

    def add_session(self, name: str, **changes: Any) -> None:
        """Writes it as Google's command does; `expires_in` in seconds."""
        expires = datetime.now(timezone.utc) + timedelta(
            seconds=changes.pop("expires_in", 3600)
        )
        known = json.loads(self.sessions.read_text()) if self.sessions.exists() else {}
        known[name] = {
            "name": name,
            "token": "right-token",
            "url": f"https://localhost:{self.port}",
            "endpoint": f"m-s-{name}",
            "token_expires_at": expires.isoformat().replace("+00:00", "Z"),
            "variant": "GPU",
            "accelerator": "T4",
            "machine_shape": "STANDARD",
            "kernel_id": None,
            "session_id": None,
            "last_execution": None,
            "running": None,
            **changes,
        }
        self.sessions.write_text(json.dumps(known, indent=2))

    def env(self) -> dict[str, str]:
        """What points our program to this stand-in."""
        return {
            "COLAB_DEVSYNC_COLAB_SESSIONS": str(self.sessions),
            "SSL_CERT_FILE": str(self.certificate),
            "COLAB_DEVSYNC_COLAB_CLI": "no-colab-here",
        }

    def fake_cli(self, new_token: str = "", *, fails: str = "") -> str:
        """A `colab` command: notes its arguments, renews tokens (`sessions`), makes
        sessions (`new`), or fails with these words. Its command line."""
        program = self.folder / "colab.py"
        source = Path(__file__).with_name("colab_cli.py").read_text()
        program.write_text(source)
        options = [str(self.folder), new_token, fails]
        return " ".join([sys.executable, str(program), *map(json.dumps, options)])

    def calls(self) -> list[list[str]]:
        """The arguments of each call of the fake command."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the stand-in for Colab ended; see its stderr")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _make_certificate(certificate: Path, key: Path) -> None:
    name = "/CN=localhost"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", name]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)


# --- the program ------------------------------------------------------------------


class Colab:
    def __init__(self, sshd: int, authorized_keys: str, tls: ssl.SSLContext) -> None:
        self.settings: dict[str, Any] = {"tokens": [], "status": 0, "sshd": sshd}
        self.authorized_keys = authorized_keys
        self.tls = tls
        self.slot = threading.Lock()
        self.counts = {"requests": 0, "pongs": 0, "clients": 0}
        self.open: set[SharedSocket] = set()

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if order.pop("drop", False):
            for one in list(self.open):
                one.close()
        self.settings.update(order)
        return {**self.counts, "busy": self.slot.locked()}

    def serve(self, plain: socket.socket) -> None:
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            first = plain.recv(1, socket.MSG_PEEK)
            peer = plain
            if first == b"\x16":  # TLS; the same port takes plain HTTP as well
                peer = self.tls.wrap_socket(plain, server_side=True)
            self.answer(peer)
        except (OSError, ValueError):
            pass  # the client has left
        finally:
            plain.close()

    def answer(self, peer: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = peer.recv(1)
            if not data:
                return
            head += data
        self.counts["requests"] += 1
        request, *lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        status, body = self.judge(request, headers)
        if status:
            text = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            peer.sendall(text.encode())
            return
        if not self.slot.acquire(blocking=False):
            peer.sendall(b"HTTP/1.1 429 No\r\nContent-Length: 4\r\n\r\nbusy")
            return
        try:
            self.bridge(peer, headers)
        finally:
            self.slot.release()

    def judge(self, request: str, headers: dict[str, str]) -> tuple[int, str]:
        url = urlsplit(request.split()[1])
        token = parse_qs(url.query).get("colab-runtime-proxy-token", [""])[0]
        key = headers.get("x-colab-ssh-pubkey", "")
        if self.settings["status"]:
            return int(self.settings["status"]), "as told"
        if token not in self.settings["tokens"]:
            return 401, "invalid token"
        if url.path != "/colab/ssh":
            return 404, "not found"
        if not key:
            return 400, "missing pubkey"
        if key.split()[0] not in KINDS or "\n" in key:
            return 400, "unsupported key type"
        return 0, ""

    def bridge(self, peer: socket.socket, headers: dict[str, str]) -> None:
        try:
            sshd = socket.create_connection(("127.0.0.1", self.settings["sshd"]), 30)
        except OSError:
            peer.sendall(b"HTTP/1.1 502 No\r\nContent-Length: 4\r\n\r\nsshd")
            return
        sshd.settimeout(None)
        sshd.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with open(self.authorized_keys, "a") as file:
            file.write(headers["x-colab-ssh-pubkey"] + "\n")
        nonce = headers["sec-websocket-key"].encode()
        accept = base64.b64encode(hashlib.sha1(nonce + GUID).digest()).decode()
        peer.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            + b"\x89\x02hi"  # a ping
        )
        shared = SharedSocket(peer)
        self.open.add(shared)
        self.counts["clients"] += 1
        with sshd:
            thread = threading.Thread(target=self.inwards, args=(shared, sshd))
            thread.start()
            self.outwards(shared, sshd)
            shared.close()
            thread.join()
            self.open.discard(shared)

    def outwards(self, peer: SharedSocket, sshd: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := sshd.recv(PIECE):
                size = len(data)
                if size < 126:
                    head = struct.pack("!BB", 0x82, size)
                elif size < 1 << 16:
                    head = struct.pack("!BBH", 0x82, 126, size)
                else:
                    head = struct.pack("!BBQ", 0x82, 127, size)
                send_all(peer, head + data)
            send_all(peer, b"\x88\x02" + struct.pack("!H", 1000))

    def inwards(self, peer: SharedSocket, sshd: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while head := receive(peer, 2):
                opcode, size = head[0] & 15, head[1] & 127
                if size == 126:
                    (size,) = struct.unpack("!H", receive(peer, 2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", receive(peer, 8))
                mask, data = receive(peer, 4), receive(peer, size)
                key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
                data = (int.from_bytes(data, "little") ^ key).to_bytes(size, "little")
                if opcode == 8:
                    break
                if opcode == 10:
                    self.counts["pongs"] += data == b"hi"
                else:
                    sshd.sendall(data)
        with contextlib.suppress(OSError):
            sshd.shutdown(socket.SHUT_RDWR)


def receive(peer: SharedSocket, size: int) -> bytes:
    """Exactly so many; b"" at the end."""
    found = b""
    while len(found) < size:
        data = peer.recv(size - len(found))
        if not data:
            return b""
        found += data
    return found


def send_all(peer: SharedSocket, data: bytes) -> None:
    while data:
        data = data[peer.send(data) :]


def main() -> None:
    sshd, authorized_keys, certificate, key = sys.argv[1:]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    colab = Colab(int(sshd), authorized_keys, tls)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)

    def accept() -> None:
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=colab.serve, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    for line in sys.stdin:
        print(json.dumps(colab.obey(json.loads(line))), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
