"""Drives real agent processes: starts, asks, faults, kills."""

from __future__ import annotations

import os
import signal
import zlib
from pathlib import Path
from typing import Any

from colab_devsync.agent import hashing, wire
from colab_devsync.errors import LinkLost
from colab_devsync.remote.bootstrap import Hello, start_agent
from colab_devsync.remote.client import AgentClient
from tests.support.local_shell import LocalShell, LocalStream

PATIENCE_S = 60.0
START = '__import__(PACKAGE + ".serve"'


class FaultyStream(LocalStream):
    """Adds code to the agent's sources on their way, just before it starts."""

    fault: str

    def write(self, *parts: bytes | memoryview) -> None:
        whole = b"".join(parts)
        if self.fault and whole[:10].isdigit():
            size = int(whole[:10])
            program = zlib.decompress(whole[10 : 10 + size]).decode()
            assert program.count(START) == 1
            packed = zlib.compress(
                program.replace(START, f"{self.fault}\n{START}").encode()
            )
            whole = b"%010d" % len(packed) + packed + whole[10 + size :]
        try:
            super().write(whole)
        except OSError as exc:  # closed by another thread meanwhile
            raise LinkLost("the shell has ended") from exc


class FaultyShell(LocalShell):
    def __init__(self, shell: str, fault: str) -> None:
        super().__init__(shell)
        self._fault = fault

    def stream(self) -> FaultyStream:
        """The agent's control channel."""
        found = self._streams[0]
        assert isinstance(found, FaultyStream)
        return found

    def exec(self, command: str) -> LocalStream:
        stream = FaultyStream(command, self._shell)
        stream.fault = self._fault
        self._streams.append(stream)
        return stream


class Driven:
    """One agent and what it said of itself."""

    def __init__(
        self,
        root: Path,
        python: str,
        *,
        client: str = "me",
        session: str = "",
        attempt: int = 0,
        fault: str = "",
        shell: str = "/bin/sh",
        streams: int = 8,
    ) -> None:
        self.root = root
        self.connection = FaultyShell(shell, fault)
        hello = {
            "root": str(root),
            "client": client,
            "session": session,
            "attempt": attempt,
            "shown": f"{client}@laptop",
            "streams": streams,
        }
        try:
            started = start_agent(
                self.connection, python=python, hello=hello, timeout_s=PATIENCE_S
            )
        except BaseException:
            self._end()
            raise
        self.client: AgentClient = started[0]
        self.hello: Hello = started[1]
        self.tokens = list(self.hello.bulk_tokens)
        self.process = self.connection.stream().process
        self._is_over = False

    def __enter__(self) -> Driven:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        if not self._is_over:
            self._is_over = True
            self.client.close()
            self._end()

    def _end(self) -> None:
        self.connection.close()
        self.connection.stream().dispose()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)

    def died(self) -> int:
        return self.process.wait(PATIENCE_S)

    # --- requests -----------------------------------------------------------------

    def ask(self, op: str, data: bytes = b"", **fields: Any) -> dict[str, Any]:
        return self.client.request({"op": op, **fields}, data, PATIENCE_S).meta()

    def put_entries(
        self, *entries: tuple[wire.Entry, bytes], durable: bool = True
    ) -> list[tuple[str, str, str]]:
        reply = self.ask(
            "put",
            b"".join(payload for _, payload in entries),
            entries=[entry for entry, _ in entries],
            durable=durable,
        )
        return [tuple(result) for result in reply["results"]]

    def put(self, path: str, data: bytes, *accept: str, **changes: Any) -> str:
        """The status of one put; without `accept` nothing may be there."""
        return self.put_result(path, data, *accept, **changes)[0]

    def put_result(
        self, path: str, data: bytes, *accept: str, **changes: Any
    ) -> tuple[str, str, str]:
        entry = file_entry(path, data, *accept)._replace(**changes)
        return self.put_entries((entry, data))[0]

    def link(self, path: str, target: str, *accept: str) -> tuple[str, str, str]:
        payload = target.encode("utf-8", "surrogateescape")
        entry = wire.Entry(
            path,
            wire.LINK,
            hashing.of_link(target),
            len(payload),
            None,
            list(accept or ("",)),
            len(payload),
        )
        return self.put_entries((entry, payload))[0]

    def delete(self, path: str, *accept: str) -> str:
        results = self.ask("delete", paths=[[path, list(accept)]])["results"]
        return str(results[0][0])

    def look(self, *paths: str) -> list[str]:
        return list(self.ask("look", paths=list(paths))["hashes"])

    def digest_is(self, files: dict[str, bytes]) -> bool:
        """Whether the agent's digest is that of exactly these files."""
        return self.ask("check", digest=digest_of(files)).get("same") is True

    def read(self, path: str, **fields: Any) -> tuple[dict[str, Any], bytes]:
        frame = self.client.request({"op": "read", "path": path, **fields}).frame()
        return frame.meta, frame.data

    def temporaries(self) -> list[str]:
        return sorted(os.listdir(self.root / ".colab-devsync" / "staging"))


def file_entry(path: str, data: bytes, *accept: str) -> wire.Entry:
    return wire.Entry(
        path,
        wire.FILE,
        hashing.of_bytes(data),
        len(data),
        None,
        list(accept or ("",)),
        len(data),
    )


def digest_of(files: dict[str, bytes]) -> str:
    digest = 0
    for path, data in files.items():
        digest = hashing.add(digest, hashing.token(path, hashing.of_bytes(data)))
    return hashing.as_text(digest)


def tree_of(root: Path) -> dict[str, bytes]:
    """Every file and link below `root` but ours: contents, b"-> target" for links."""
    found: dict[str, bytes] = {}
    for folder, names, files in os.walk(root):
        if Path(folder) == root:
            names[:] = [name for name in names if name != ".colab-devsync"]
        if Path(folder).name == ".colab-devsync":
            # The lock of the keeper that waits for a run comes when it likes.
            files = [name for name in files if not name.startswith("keeper-")]
        for name in files + [n for n in names if os.path.islink(f"{folder}/{n}")]:
            path = os.path.join(folder, name)
            inside = os.path.relpath(path, root)
            if os.path.islink(path):
                found[inside] = b"-> " + os.fsencode(os.readlink(path))
            else:
                found[inside] = Path(path).read_bytes()
    return found
