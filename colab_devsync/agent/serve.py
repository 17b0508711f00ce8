"""The agent's life: take the protocol off stdin and stdout, shake hands, answer.

Threads: the control reader (answers pings at once), a writer of the tree (puts and
deletes, in order), a looker (checks and reads, which may take long), and one per bulk
stream. All replies leave through the control channel under one lock, but a program's
output, which has a stream of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import (
    Any,
    BinaryIO,
    Callable,
    Dict,
    NamedTuple,
    Optional,
    Set,
    Tuple,
    cast,
)

assert sys.platform != "win32"  # runs on the VM only

from . import hashing, names, probe, wire
from .listener import Listener, Sender, hanging_up
from .ownership import Taken
from .parts import Parts
from .paths import STATE_DIR, UnsafePath
from .programs import Programs
from .refusal import in_words
from .runs import NoRun, Runs
from .staging import write_all
from .state import Unsynced, marker
from .tail import follow
from .tree import Tree
from .worker import Worker

_SILENCE_S = 90.0  # the client pings every 5 s; after this it is gone
_DRAIN_LOOKS = 100  # of 10 ms
_READ_SIZE = 1 << 20
_BUFFER = 1 << 18
_NEED_THE_ROOT = frozenset(("put", "part", "delete", "check", "push"))

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
        self._session: Optional[_Session] = None
        self._programs = Programs()
        self._streams: Set[socket.socket] = set()
        self._changes = Worker("devsync-tree", self._serve)
        self._looks = Worker("devsync-look", self._serve)
        self._batches = Worker("devsync-batch", self._serve, limit=8)

    def run(self) -> None:
        """Serves until the client hangs up. WireError if it breaks the protocol."""
        threading.Thread(
            target=self._watch_silence, name="devsync-silence", daemon=True
        ).start()
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
            elif operation == "stop":  # takes its time
                threading.Thread(
                    target=self._serve, args=(frame,), name="devsync-stop", daemon=True
                ).start()
            else:
                self._looks.put(frame)

    def _watch_silence(self) -> None:
        while time.monotonic() - self._heard < _SILENCE_S:
            time.sleep(_SILENCE_S / 10)
        self.end(0)

    def drain(self) -> None:
        """After the last request: what of a push is here already counts as arrived."""
        for _ in range(_DRAIN_LOOKS):
            if self._session and "pushes" in self._session.later and self._streams:
                time.sleep(0.01)

    def end(self, status: int) -> None:
        """Ends the process, and the programs whose streams end with it."""
        self._programs.end()
        os._exit(status)  # daemon threads may be blocked in reads

    def fail(self, why: str) -> None:
        """Ends the process with words for the client."""
        sys.stderr.write("colab-devsync agent: %s\n" % why)
        sys.stderr.flush()
        self.end(70)

    def _send(self, seq: int, meta: wire.Meta, data: bytes) -> None:
        try:
            frame = wire.encode(seq, meta, data)
        except wire.WireError as exc:
            frame = wire.encode(seq, _error("refused", str(exc)))
        with self._write_lock:
            self._write(frame)

    def _serve(self, frame: wire.Frame) -> None:
        """Answers one frame; whatever goes wrong is the answer."""
        operation = str(frame.meta.get("op"))
        handler = getattr(self, "_op_" + operation, None)
        try:
            if operation in _NEED_THE_ROOT and not self.session.tree.is_there():
                # The next agent makes it anew, and the client fills it again.
                self.fail("the project's folder was removed on the VM")
            if handler is None:
                raise wire.WireError("unknown operation %s" % operation)
            meta, data = handler(frame)
        except Refused as exc:
            meta, data = _error(exc.code, str(exc)), b""
        except UnsafePath as exc:
            meta, data = _error("refused", str(exc)), b""
        except wire.WireError as exc:
            meta, data = _error("protocol", str(exc)), b""
        except OSError as exc:
            meta, data = _error("refused", in_words(exc)), b""
        except Exception:  # noqa: BLE001
            # A bug: the client is told, with the traceback, and the agent lives on.
            meta, data = _error("crash", traceback.format_exc()), b""
        self._send(frame.seq, meta, data)

    # --- operations ---------------------------------------------------------------

    def _op_hello(self, frame: wire.Frame) -> Answer:
        ask = frame.meta
        if ask.get("version") != wire.VERSION:
            raise Refused("version", "the agent speaks version %d" % wire.VERSION)
        if self._session is not None:
            raise wire.WireError("hello comes once")
        fresh = _is_fresh(ask["root"])
        tree = Tree(ask["root"])
        try:
            who = (ask["client"], ask.get("shown", ""), ask.get("session", ""))
            tree.ownership.take(*who, attempt=int(ask.get("attempt", 0)))
        except Taken as exc:
            raise Refused("taken", str(exc)) from exc
        unsynced = Unsynced(tree.state)
        torn = unsynced.recover()
        tree.start(trust=not torn)
        listener = Listener(self._serve_stream)
        runs = Runs(tree.state, tree.root)
        self._session = _Session(tree, Parts(tree), listener, unsynced, runs, {})
        answer = dict(probe.identity())
        answer.update(
            version=wire.VERSION,
            marker=marker(tree.state),
            torn=torn,
            fresh=fresh,
            root=os.path.realpath(tree.root),
            epoch=tree.ownership.epoch,
            digest=hashing.as_text(tree.view.check()),
            count=len(tree.manifest),
            case_sensitive=probe.is_case_sensitive(tree.state),
            bulk={"port": listener.port, "tokens": listener.tokens(ask["streams"])},
        )
        return answer, b""

    def _op_tokens(self, frame: wire.Frame) -> Answer:
        listener = self.session.listener
        tokens = listener.tokens(int(frame.meta["count"]))
        return {"port": listener.port, "tokens": tokens}, b""

    def _op_put(self, frame: wire.Frame) -> Answer:
        durable = bool(frame.meta.get("durable", True))
        if not durable:
            self.session.unsynced.mark()
        entries = wire.entries_of(frame.meta)
        exact = bool(frame.meta.get("exact", False))
        results = self.session.tree.put(entries, wire.inflate(frame), durable, exact)
        return {"results": results}, b""

    def _op_part(self, frame: wire.Frame) -> Answer:
        entry = wire.entries_of({"entries": [frame.meta["entry"]]})[0]
        size, offset = int(frame.meta["size"]), int(frame.meta["offset"])
        durable = bool(frame.meta.get("durable", True))
        if not durable:
            self.session.unsynced.mark()
        result = self.session.parts.add(
            entry, size, offset, wire.inflate(frame), durable
        )
        return {"result": result}, b""

    def _op_have(self, frame: wire.Frame) -> Answer:
        entry = wire.entries_of({"entries": [frame.meta["entry"]]})[0]
        return {"ranges": self.session.parts.have(entry)}, b""

    def _op_delete(self, frame: wire.Frame) -> Answer:
        wanted = [(path, accept) for path, accept in frame.meta["paths"]]
        return {"results": self.session.tree.delete(wanted)}, b""

    def _op_check(self, frame: wire.Frame) -> Answer:
        tree = self.session.tree
        if hashing.as_text(tree.view.check()) == frame.meta.get("digest"):
            return {"same": True}, b""
        folders = hashing.folder_digests(tree.manifest.hashes())
        return {"same": False, "folders": folders}, b""

    def _op_look(self, frame: wire.Frame) -> Answer:
        tree = self.session.tree
        tree.manifest.forget(frame.meta.get("forget", []))
        return {"hashes": tree.view.look(frame.meta["paths"])}, b""

    def _op_folder(self, frame: wire.Frame) -> Answer:
        wanted = set(frame.meta["folders"])
        paths = self.session.tree.manifest.paths()
        return {"paths": [p for p in paths if p.rpartition("/")[0] in wanted]}, b""

    def _op_list(self, frame: wire.Frame) -> Answer:
        return {"paths": self.session.tree.view.listing()}, b""

    def _op_names(self, frame: wire.Frame) -> Answer:
        root = self.session.tree.root
        return {"folders": names.folders_in(root, frame.meta["path"])}, b""

    def _op_read(self, frame: wire.Frame) -> Answer:
        size = int(frame.meta.get("size", _READ_SIZE))
        size, offset = min(size, _READ_SIZE), int(frame.meta.get("offset", 0))
        if size < 0 or offset < 0:
            raise wire.WireError("a read needs a size and an offset from 0")
        return self.session.tree.view.read(frame.meta["path"], offset, size)

    def _op_machine(self, frame: wire.Frame) -> Answer:
        return probe.machine(self.session.tree.root), b""

    def _op_load(self, frame: wire.Frame) -> Answer:
        """More of our modules, which most connections need not carry."""
        loader: Any = globals()["__loader__"]
        loader.add(json.loads(wire.inflate(frame)))
        return {}, b""

    def _op_push(self, frame: wire.Frame) -> Answer:
        from .pushes import Pushes

        tree, later = self.session.tree, self.session.later
        pushes = later.get("pushes") or later.setdefault(
            "pushes", Pushes(tree, marker(tree.state))
        )
        return cast(Answer, pushes.answer(frame))

    def _op_sync(self, frame: wire.Frame) -> Answer:
        self.session.unsynced.sync()
        return {}, b""

    def _op_runs(self, frame: wire.Frame) -> Answer:
        return {"runs": self.session.runs.list()}, b""

    def _op_stop(self, frame: wire.Frame) -> Answer:
        try:
            return {"run": self.session.runs.stop(frame.meta)}, b""
        except NoRun as exc:
            return {"unknown": str(exc)}, b""

    @property
    def session(self) -> "_Session":
        if self._session is None:
            raise wire.WireError("hello comes first")
        return self._session

    # --- bulk streams -------------------------------------------------------------

    def _serve_stream(self, connection: socket.socket) -> None:
        """Frames of one bulk stream; or, if the first says so, one program."""
        reader = cast(BinaryIO, connection.makefile("rb", buffering=_BUFFER))
        self._streams.add(connection)
        try:
            for frame in iter(lambda: wire.read_frame(reader), None):
                self._heard = time.monotonic()
                if frame.meta.get("op") == "put" or frame.meta.get("do") == "put":
                    # Many small files: one thread is faster than many that hand
                    # the interpreter to one another at every system call.
                    self._batches.put(frame)
                    continue
                if frame.meta.get("op") == "exec":
                    root = self.session.tree.root
                    self._programs.run(frame.meta, root, reader, Sender(connection))
                    return
                if frame.meta.get("op") in ("run", "attach"):
                    if self._is_stale(frame.meta):
                        Sender(connection)({"op": "stale"}, b"")
                        continue
                    follow(self.session.runs, frame.meta, reader, Sender(connection))
                    connection.shutdown(socket.SHUT_RDWR)  # wakes its other reader
                    return
                if frame.meta.get("op") in ("watch", "reads"):
                    self._serve_pulls(frame, connection, reader)
                    return
                try:
                    self._serve(frame)
                except BrokenPipeError:  # nobody hears of it, but it has arrived
                    pass
        except (OSError, wire.WireError):
            return  # cut off: what did not arrive whole is sent again
        finally:
            self._streams.discard(connection)

    def _is_stale(self, ask: wire.Meta) -> bool:
        """Whether a run is not to start yet: the tree is not what was believed."""
        digest, session = ask.get("digest"), self.session
        if not digest or hashing.as_text(session.tree.view.check()) == digest:
            return False
        return not session.runs.has(ask["nonce"])

    def _serve_pulls(
        self, frame: wire.Frame, connection: socket.socket, reader: BinaryIO
    ) -> None:
        from .pulling import watch
        from .pulling_reads import Reads

        root, later = self.session.tree.root, self.session.later
        if frame.meta["op"] == "watch":
            send, hang_up = Sender(connection), hanging_up(connection)
            watch(frame.meta, root, reader, send, hang_up)
        else:
            reads = later.get("reads") or later.setdefault("reads", Reads(root))
            reads.serve(connection, reader)


class _Session(NamedTuple):
    """What there is after the handshake."""

    tree: Tree
    parts: Parts
    listener: Listener
    unsynced: Unsynced
    runs: Runs
    later: Dict[str, Any]  # what came by `load`, once it is used


def _error(code: str, message: str) -> Dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def _is_fresh(root: str) -> bool:
    """Whether nothing but what an agent made stands there."""
    return not os.path.isdir(root) or not set(os.listdir(root)) - {STATE_DIR}


def main() -> None:
    """Speaks on fds 0 and 1, after moving them out of everybody else's reach."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    probe.allow_open_files()
    # A server may hang up on us with a signal; the end of stdin says the same, and
    # leaves time to end programs. A handler, because they would inherit "ignore".
    signal.signal(signal.SIGHUP, lambda number, frame: None)
    # Who started us in the background made us ignore these.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    write_all(sink, wire.MAGIC)
    reader = os.fdopen(source, "rb", buffering=_BUFFER)
    agent = Agent(reader, lambda data: write_all(sink, data))
    try:
        agent.run()
    except BrokenPipeError:
        pass
    except wire.WireError as exc:
        agent.fail(str(exc))
    agent.drain()
    agent.end(0)
