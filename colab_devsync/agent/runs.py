"""The runs of this root: start, list, stop, and where each keeps its files.

`.colab-devsync/runs/<id>/` holds `spec.json` (what, and since it runs: the pids),
`stdout`, `stderr`, `port.json`, `status.json` (how it ended) and `lock`, which its
keeper holds as long as it lives. All state is there: agents come and go. Any thread.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import sys
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

assert sys.platform != "win32"  # runs on the VM only

from . import keeper, kernel, wire
from .hooks import Hooks
from .keepers import Keepers, TooSlow, is_locked
from .refusal import in_words

KEPT = 30  # ended runs whose logs stay
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}-(\d{1,9})\Z")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_START_S = 20.0  # for another agent's keeper to say that the program runs
_LOOK_S = 0.005
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


class NoRun(Exception):
    """No such run on this VM; the message is for people."""


class NotStarted(Exception):
    """The program could not be started; the message is for people."""


class Run(NamedTuple):
    """One run's folder."""

    id: str
    folder: str

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def read(self, name: str) -> Dict[str, Any]:
        """One of its JSON files; {} if it is not there (yet)."""
        return keeper.read_json(self.path(name))

    def is_kept(self) -> bool:
        """Whether its keeper is alive."""
        return is_locked(self.path("lock"))

    def size(self, name: str) -> int:
        try:
            return os.stat(self.path(name)).st_size
        except OSError:
            return 0

    def info(self) -> wire.Meta:
        """What the client is told of it. NoRun if it never ran."""
        spec = self.read("spec.json")
        if "pid" not in spec:
            raise NoRun("no run %s on the VM" % self.id)
        status = self.read("status.json")
        is_kept = not status and self.is_kept()
        if not status and not is_kept:
            status = self.read("status.json")  # it may have ended just now
        found = {
            "run": self.id,
            "kind": spec.get("kind"),
            "argv": spec.get("argv"),
            "cwd": spec.get("cwd"),
            "pid": spec["pid"],
            "started": spec.get("started"),
            "port": self.read("port.json").get("port"),
            "stdout": self.size("stdout"),
            "stderr": self.size("stderr"),
            "state": "exited" if status else "running" if is_kept else "lost",
        }
        found.update({key: status.get(key) for key in ("ended", "code", "signal")})
        found["message"] = status.get("message")
        if found["state"] == "lost":
            found["message"] = "the VM was restarted, or the run's keeper was killed"
        return found


class Runs:
    def __init__(self, state: str, root: str) -> None:
        """`state`: our folder in the root."""
        self._folder = os.path.join(state, "runs")
        self._root = root
        self._keepers = Keepers(state)
        self._keepers.prepare_soon()
        self._hooks = Hooks(state)
        self._nonces: Dict[Tuple[str, int, int], str] = {}  # by version of their specs

    # --- questions ----------------------------------------------------------------

    def get(self, name: object) -> Run:
        """NoRun."""
        if not isinstance(name, str) or not _ID.match(name):
            raise NoRun("no run %s on the VM" % name)
        run = Run(name, os.path.join(self._folder, name))
        if not os.path.isdir(run.folder):
            raise NoRun("no run %s on the VM" % name)
        return run

    def has(self, nonce: str) -> bool:
        """Whether a run was started, or is being started, by this nonce."""
        return any(self._nonce(run) == nonce for run in self.all())

    def _nonce(self, run: Run) -> str:
        """Of its spec, which is read once: a start looks at all of them."""
        try:
            about = os.stat(run.path("spec.json"))
        except OSError:
            return ""
        version = (run.id, about.st_ino, about.st_mtime_ns)
        if version not in self._nonces:
            self._nonces[version] = str(run.read("spec.json").get("nonce") or "")
        return self._nonces[version]

    def all(self) -> List[Run]:
        """By number, the oldest first."""
        try:
            names = os.listdir(self._folder)
        except OSError:
            return []
        found = [name for name in names if _ID.match(name)]
        found.sort(key=_number)
        return [Run(name, os.path.join(self._folder, name)) for name in found]

    def list(self) -> "List[wire.Meta]":
        found = []
        for run in self.all():
            try:
                found.append(run.info())
            except NoRun:
                continue  # it is about to start, or never did
        return found

    # --- stopping -----------------------------------------------------------------

    def stop(self, request: wire.Meta) -> wire.Meta:
        """Tells its keeper; waits `wait_s` for the end, and tells how it stands."""
        run = self.get(request.get("run"))
        info = run.info()
        if info["state"] == "running":
            order = {key: request.get(key) for key in ("kill", "grace_s")}
            self._tell(run, order)
            _wait(lambda: not run.is_kept(), float(request.get("wait_s") or 0))
            info = run.info()
        return info

    def _tell(self, run: Run, order: wire.Meta) -> None:
        spec = run.read("spec.json")
        try:
            keeper.write_json(run.path("stop.json"), order)
        except OSError:  # the disk is full: no reason to run on
            if order["kill"]:
                keeper.tell_group(int(spec["pid"]), signal.SIGKILL)
        try:
            os.kill(int(spec["keeper"]), signal.SIGTERM)
        except ProcessLookupError:
            pass  # it has ended meanwhile

    # --- starting -----------------------------------------------------------------

    def start(self, request: wire.Meta) -> Run:
        """Starts a program; the same nonce again is the same run. NotStarted."""
        try:
            spec = self._spec(request)
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            with _Lock(os.path.join(self._folder, "lock")):
                run = self._find(spec["nonce"])
                return run or self._start(spec, request)
        except OSError as exc:
            raise NotStarted(
                "cannot start a program on the VM: %s" % in_words(exc)
            ) from exc

    def prune(self) -> None:
        """Removes the oldest logs of runs that ended, and what never ran."""
        ended = [run for run in self.all() if not run.is_kept()]
        for run in ended[:-KEPT]:
            shutil.rmtree(run.folder, ignore_errors=True)

    def _spec(self, request: wire.Meta) -> wire.Meta:
        """What the keeper is told. NotStarted if something is not there."""
        if not _NAME.match(str(request.get("name"))):
            raise NotStarted("a run cannot be called %r" % request.get("name"))
        argv = request.get("argv")
        if not isinstance(argv, list) or not argv:
            raise NotStarted("nothing to start")
        try:
            re.compile(str((request.get("wait_port") or {}).get("pattern") or ""))
        except re.error as exc:
            raise NotStarted("cannot wait for a port: %s" % exc) from exc
        cwd = os.path.join(self._root, str(request.get("cwd") or "."))
        if not os.path.isdir(cwd):
            raise NotStarted("no folder %s on the VM" % cwd)
        wanted = request.get("file")
        if wanted and not os.path.isfile(os.path.join(self._root, str(wanted))):
            raise NotStarted("no file %s on the VM" % wanted)
        return {
            "nonce": str(request["nonce"]),
            "name": request["name"],
            "kind": str(request.get("kind") or "run"),
            "argv": argv,
            "cwd": os.path.normpath(cwd),
            "env": request.get("env") or {},
            "wait_port": request.get("wait_port"),
        }

    def _find(self, nonce: str) -> Optional[Run]:
        """The run an earlier agent, or an earlier request, started by this nonce."""
        for run in reversed(self.all()):
            if self._nonce(run) != nonce:
                continue
            _wait(lambda run=run: _is_settled(run), _START_S)
            if "pid" in run.read("spec.json"):
                return run
            shutil.rmtree(run.folder, ignore_errors=True)
        return None

    def _start(self, spec: wire.Meta, request: wire.Meta) -> Run:
        run = self._make_folder(spec["name"], int(request.get("after") or 0))
        env: Dict[str, str] = kernel.environment()
        env.update(spec["env"], PYTHONUNBUFFERED="1")
        if request.get("hook"):
            self._hooks.add(env, run.folder)
        try:
            spec["argv"] = [_filled(one, run) for one in spec["argv"]]
            if spec["argv"][0].startswith("~/"):  # as `python` in [remote] may
                spec["argv"][0] = os.path.expanduser(spec["argv"][0])
            spec["env"] = {key: _filled(value, run) for key, value in env.items()}
            shown = {key: spec[key] for key in spec if key != "env"}
            keeper.write_json(run.path("spec.json"), shown)
            spec["folder"] = run.folder
            answer = self._keepers.start(run.path("lock"), spec)
        except TooSlow as exc:
            shutil.rmtree(run.folder, ignore_errors=True)
            raise NotStarted(str(exc)) from None
        except BaseException:
            shutil.rmtree(run.folder, ignore_errors=True)
            raise
        if answer:
            shutil.rmtree(run.folder, ignore_errors=True)
            if answer.get("errno"):
                raise OSError(answer["errno"], answer["failed"])
            raise NotStarted(str(answer.get("failed")))
        return run

    def _make_folder(self, name: str, after: int) -> Run:
        numbers = [_number(run.id) for run in self.all()]
        run_id = "%s-%d" % (name, max([after, *numbers]) + 1)
        run = Run(run_id, os.path.join(self._folder, run_id))
        os.mkdir(run.folder, 0o700)
        return run


class _Lock:
    """One start at a time, whichever agent does it."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | _CLOEXEC, 0o600)

    def __enter__(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)


def _is_settled(run: Run) -> bool:
    """Whether it runs, or will not any more."""
    return "pid" in run.read("spec.json") or not run.is_kept()


def _filled(text: str, run: Run) -> str:
    """With the run's folder for "{run_dir}"."""
    if not isinstance(text, str) or "\0" in text:
        raise NotStarted("not an argument or variable: %r" % (text,))
    return text.replace("{run_dir}", run.folder)


def _number(run_id: str) -> int:
    return int(run_id.rpartition("-")[2])


def _wait(is_done: Any, limit_s: float) -> None:
    """Until `is_done()`, or for so long."""
    until = time.monotonic() + limit_s
    while not is_done() and time.monotonic() < until:
        time.sleep(_LOOK_S)
