"""The agent's life: take the protocol off stdin and stdout, shake hands, answer.

Threads: the control reader (answers pings at once), a writer of the tree (puts and
deletes, in order), a looker (checks and reads, which may take long), and one per bulk
stream. All replies leave through the control channel under one lock, but a program's
output, which has a stream of its own.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
import time
import traceback
import uuid
from typing import Any, BinaryIO, Callable, Dict, Optional, Tuple

from . import hashing, probe, programs, wire
from .listener import Listener
from .ownership import Taken
from .parts import Parts
from .paths import UnsafePath
from .tree import Tree, refusal

_SILENCE_S = 90.0  # the client pings every 5 s; after this it is gone
_READ_SIZE = 1 << 20

Answer = Tuple[wire.Meta, bytes]


class Refused(Exception):
    """A request that cannot be served: `code` for the client, a reason for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Agent:
    def __init__(self, reader: BinaryIO, write: Callable[[bytes], None]) -> None:
        self._reader = reader
        self._write = write
        self._write_lock = threading.Lock()
        self._heard = time.monotonic()
        self._tree = None  # type: Optional[Tree]
        self._parts = None  # type: Optional[Parts]
        self._listener = None  # type: Optional[Listener]
        self._changes = _Worker("devsync-tree", self._serve)
        self._looks = _Worker("devsync-look", self._serve)

    def run(self) -> None:
        """Serves until the client hangs up. WireError if it breaks the protocol."""
        threading.Thread(target=self._watch_silence, name="devsync-silence", daemon=True).start()
        while True:
            frame = wire.read_frame(self._reader)
            if frame is None:
                return
            self._heard = time.monotonic()
            operation = frame.meta.get("op")
            if operation == "ping":
                self._send(frame.seq, {}, b"")
            elif operation in ("hello", "put", "delete", "part"):
                self._changes.put(frame)
            else:
                self._looks.put(frame)

    def _watch_silence(self) -> None:
        while time.monotonic() - self._heard < _SILENCE_S:
            time.sleep(_SILENCE_S / 10)
        os._exit(0)

    def _send(self, seq: int, meta: wire.Meta, data: bytes) -> None:
        frame = wire.encode(seq, meta, data)
        with self._write_lock:
            self._write(frame)

    def _serve(self, frame: wire.Frame) -> None:
        """Answers one frame; whatever goes wrong is the answer."""
        handler = getattr(self, "_op_" + str(frame.meta.get("op")), None)
        try:
            if handler is None:
                raise wire.WireError("unknown operation %r" % frame.meta.get("op"))
            meta, data = handler(frame)
        except Refused as exc:
            meta, data = _error(exc.code, str(exc)), b""
        except UnsafePath as exc:
            meta, data = _error("refused", str(exc)), b""
        except wire.WireError as exc:
            meta, data = _error("protocol", str(exc)), b""
        except OSError as exc:
            meta, data = _error("refused", refusal(exc)), b""
        except Exception:
            # A bug: the client is told, with the traceback, and the agent lives on.
            meta, data = _error("crash", traceback.format_exc()), b""
        self._send(frame.seq, meta, data)

    # --- operations ---------------------------------------------------------------

    def _op_hello(self, frame: wire.Frame) -> Answer:
        ask = frame.meta
        if ask.get("version") != wire.VERSION:
            raise Refused("version", "the agent speaks version %d" % wire.VERSION)
        fresh = not os.path.isdir(ask["root"]) or not os.listdir(ask["root"])
        tree = Tree(ask["root"])
        try:
            tree.ownership.take(ask["client"], ask.get("shown", ""))
        except Taken as exc:
            raise Refused("taken", str(exc)) from exc
        tree.start()
        self._tree, self._parts = tree, Parts(tree)
        self._listener = Listener(self._serve_stream)
        answer = dict(probe.identity())
        answer.update(
            version=wire.VERSION,
            marker=_marker(tree.state),
            torn=self._recover(),
            fresh=fresh,
            root=os.path.realpath(tree.root),
            epoch=tree.ownership.epoch,
            digest=hashing.as_text(tree.check()),
            count=len(tree.manifest),
            case_sensitive=probe.is_case_sensitive(tree.state),
            bulk={"port": self._listener.port, "tokens": self._listener.tokens(ask["streams"])},
        )
        return answer, b""

    def _op_tokens(self, frame: wire.Frame) -> Answer:
        assert self._listener is not None
        return {
            "port": self._listener.port,
            "tokens": self._listener.tokens(int(frame.meta["count"])),
        }, b""

    def _op_put(self, frame: wire.Frame) -> Answer:
        durable = bool(frame.meta.get("durable", True))
        if not durable:
            self._mark_unsynced()
        entries = wire.entries_of(frame.meta)
        return {"results": self.tree.put(entries, wire.inflate(frame), durable)}, b""

    def _op_part(self, frame: wire.Frame) -> Answer:
        assert self._parts is not None
        entry = wire.entries_of({"entries": [frame.meta["entry"]]})[0]
        piece = wire.inflate(frame)
        result = self._parts.add(entry, frame.meta["size"], frame.meta["offset"], piece)
        return {"result": result}, b""

    def _op_have(self, frame: wire.Frame) -> Answer:
        assert self._parts is not None
        entry = wire.entries_of({"entries": [frame.meta["entry"]]})[0]
        return {"ranges": self._parts.have(entry)}, b""

    def _op_delete(self, frame: wire.Frame) -> Answer:
        wanted = [(path, accept) for path, accept in frame.meta["paths"]]
        return {"results": self.tree.delete(wanted)}, b""

    def _op_check(self, frame: wire.Frame) -> Answer:
        digest = hashing.as_text(self.tree.check())
        if digest == frame.meta.get("digest"):
            return {"same": True}, b""
        folders = hashing.folder_digests(self.tree.manifest.hashes())
        return {"same": False, "folders": folders}, b""

    def _op_look(self, frame: wire.Frame) -> Answer:
        self.tree.forget(frame.meta.get("forget", []))
        return {"hashes": self.tree.look(frame.meta["paths"])}, b""

    def _op_folder(self, frame: wire.Frame) -> Answer:
        wanted = set(frame.meta["folders"])
        paths = [p for p in self.tree.manifest.paths() if p.rpartition("/")[0] in wanted]
        return {"paths": paths}, b""

    def _op_list(self, frame: wire.Frame) -> Answer:
        return {"paths": self.tree.listing()}, b""

    def _op_read(self, frame: wire.Frame) -> Answer:
        size = min(int(frame.meta.get("size", _READ_SIZE)), _READ_SIZE)
        return self.tree.read(frame.meta["path"], int(frame.meta.get("offset", 0)), size)

    def _op_machine(self, frame: wire.Frame) -> Answer:
        return probe.machine(self.tree.root), b""

    def _op_sync(self, frame: wire.Frame) -> Answer:
        os.sync()
        self._clear_unsynced()
        return {}, b""

    @property
    def tree(self) -> Tree:
        if self._tree is None:
            raise wire.WireError("hello comes first")
        return self._tree

    # --- bulk streams -------------------------------------------------------------

    def _serve_stream(self, connection: socket.socket) -> None:
        """Frames of one bulk stream; or, if the first says so, one program."""
        reader = connection.makefile("rb", buffering=1 << 18)
        try:
            for frame in iter(lambda: wire.read_frame(reader), None):
                self._heard = time.monotonic()
                if frame.meta.get("op") == "exec":
                    send = _StreamSender(connection)
                    programs.run(frame.meta, self.tree.root, reader, send)
                    return
                self._serve(frame)
        except (OSError, wire.WireError):
            return  # cut off: what did not arrive whole is sent again

    # --- batches that were not synced one by one ----------------------------------

    def _unsynced_path(self) -> str:
        return os.path.join(self.tree.state, "unsynced")

    def _mark_unsynced(self) -> None:
        if not os.path.exists(self._unsynced_path()):
            with open(self._unsynced_path(), "w", encoding="ascii") as stream:
                stream.write(probe.boot_id())
                os.fsync(stream.fileno())

    def _clear_unsynced(self) -> None:
        try:
            os.unlink(self._unsynced_path())
        except FileNotFoundError:
            pass

    def _recover(self) -> bool:
        """Whether the machine went down with files written but not synced."""
        try:
            with open(self._unsynced_path(), encoding="ascii") as stream:
                written_in = stream.read()
        except FileNotFoundError:
            return False
        os.sync()
        self._clear_unsynced()
        return written_in != probe.boot_id()


class _Worker:
    """One thread that serves frames in order."""

    def __init__(self, name: str, serve: Callable[[wire.Frame], None]) -> None:
        self._serve = serve
        self._queue = queue.Queue()  # type: queue.Queue[wire.Frame]
        self.put = self._queue.put
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        while True:
            self._serve(self._queue.get())


class _StreamSender:
    """Sends frames of a program on its own connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def __call__(self, meta: wire.Meta, data: bytes) -> None:
        with self._lock:
            self._connection.sendall(wire.encode(0, meta, data))


def _error(code: str, message: str) -> Dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def _marker(state: str) -> str:
    """The root's own random name, made with it."""
    path = os.path.join(state, "marker")
    try:
        with open(path, "x", encoding="ascii") as stream:
            stream.write(uuid.uuid4().hex)
            os.fsync(stream.fileno())
    except FileExistsError:
        pass
    with open(path, encoding="ascii") as stream:
        return stream.read()


def _write_to(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def main() -> None:
    """Speaks on fds 0 and 1, after moving them out of everybody else's reach."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    _write_to(sink, wire.MAGIC)
    reader = os.fdopen(source, "rb", buffering=1 << 18)
    try:
        Agent(reader, lambda data: _write_to(sink, data)).run()
    except BrokenPipeError:
        pass
    except wire.WireError as exc:
        sys.stderr.write("colab-devsync agent: %s\n" % exc)
        sys.stderr.flush()
        os._exit(70)
    os._exit(0)  # daemon threads may be blocked in reads
