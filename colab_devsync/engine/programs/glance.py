"""Questions about the VM that an editor asks in passing. Any thread may ask.

Nothing here connects, waits for the mirror or holds anybody up: without a link the
answer is LinkLost. What modules are missing is remembered as long as the VM, its
Python and the environment stay the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from ...core.config import Config
from ...core.events import Emit, ModulesChanged
from ...errors import AgentError, DevsyncError, LinkLost
from ...link.base import Login
from ...remote.bootstrap import shell_name
from ...remote.client import Reply
from ..loop import EngineLoop
from ..reach import Reach
from ..uplink import Uplink
from .launcher import launch
from .process import ExecSpec, RemoteProcess, start_program

Need = tuple[str, str]
"""A folder of the project and a module that a script there imports."""


class Glance:
    def __init__(self, loop: EngineLoop, reach: Reach, emit: Emit) -> None:
        self._loop = loop
        self._reach = reach
        self._emit = emit
        self._about: Any = None  # the VM and Python that `_missing` is about
        self._missing: dict[Need, bool] = {}

    @property
    def config(self) -> Config | None:
        """What the session goes by; None before the first connect."""
        return self._reach.config

    @property
    def login(self) -> Login | None:
        """How we are in, host key included; None without a link."""
        uplink = self._reach.uplink
        return uplink.connection.login if uplink is not None else None

    def folders(self, path: str) -> Future[tuple[str, ...]]:
        """Names of folders in `path` on the VM: absolute, or relative to the project's.
        RemoteRefused, LinkLost."""

        def work(future: Future[tuple[str, ...]]) -> None:
            def answered(reply: Reply) -> None:
                try:
                    future.set_result(tuple(reply.meta()["folders"]))
                except DevsyncError as exc:
                    future.set_exception(exc)

            uplink, _ = self._online()
            place = self._reach.place(path) if path.startswith("/") else path
            uplink.client.send({"op": "names", "path": place}, b"", answered)

        return self._loop.submit(work)

    def missing(
        self, needs: Iterable[Need], *, again: bool = False
    ) -> Future[frozenset[Need]]:
        """Those that the VM's Python does not find. With `again`, what was missing
        is looked for once more. LinkLost, RunError, AgentError."""
        wanted = frozenset(needs)

        def work(future: Future[frozenset[Need]]) -> None:
            uplink, config = self._online()
            self._turn_to(uplink, config)
            known = {
                need for need, gone in self._missing.items() if not (gone and again)
            }
            unknown = sorted(wanted - known)
            if not unknown:
                future.set_result(self._gone(wanted))
                return
            about = self._about

            def heard(gone: frozenset[Need]) -> None:
                if self._about == about:
                    self._missing.update({need: need in gone for need in unknown})
                future.set_result(self._gone(wanted - set(unknown)) | gone)

            _Search(uplink, config, unknown).start(
                lambda gone: self._loop.post(lambda: heard(gone)), future.set_exception
            )

        return self._loop.submit(work)

    def forget(self) -> None:
        """Something was installed: everything is looked for anew."""

        def work() -> None:
            self._missing.clear()
            self._emit(ModulesChanged())

        self._loop.post(work)

    def _online(self) -> tuple[Uplink, Config]:
        uplink, config = self._reach.uplink, self._reach.config
        if uplink is None or config is None:
            raise LinkLost("There is no connection.", "`colab-devsync connect`.")
        return uplink, config

    def _turn_to(self, uplink: Uplink, config: Config) -> None:
        vm, env = uplink.vm, _environment(config)
        about = (
            vm.boot_id,
            vm.marker,
            config.remote.python,
            tuple(sorted(env.items())),
        )
        if about != self._about:
            self._about = about
            self._missing.clear()

    def _gone(self, needs: frozenset[Need] | set[Need]) -> frozenset[Need]:
        return frozenset(need for need in needs if self._missing.get(need))


class _Search:
    """One question to the VM's Python, all modules at once."""

    def __init__(self, uplink: Uplink, config: Config, needs: list[Need]) -> None:
        self._uplink = uplink
        program = launch(config.remote.python, "modules", uplink.vm.root)
        # The shell finds the home folder of a python that is named "~/...".
        start = f'exec {shell_name(config.remote.python)} "$@"'
        self._spec = ExecSpec(
            ("sh", "-c", start, "sh", *program.argv[1:], json.dumps(needs)),
            cwd=config.run.cwd,
            env={**_environment(config), **program.env},
        )
        self._said = b""
        self._errors = b""

    def start(
        self,
        then: Callable[[frozenset[Need]], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """`then` gets what is missing, `failed` an error; on any thread."""

        def started(starting: Future[RemoteProcess]) -> None:
            error = starting.exception()
            if error is not None:
                failed(error)
            else:
                starting.result().exit_code.add_done_callback(ended)

        def ended(code: Future[int]) -> None:
            try:
                then(self._read(code.result()))
            except DevsyncError as exc:
                failed(exc)

        starting: Future[RemoteProcess] = Future()
        starting.add_done_callback(started)
        start_program(self._uplink.open_stream, self._spec, self._heard, starting)

    def _heard(self, stream: str, data: bytes) -> None:
        if stream == "stdout":
            self._said += data
        else:
            self._errors = (self._errors + data)[-2000:]

    def _read(self, code: int) -> frozenset[Need]:
        try:
            line = self._said.strip().splitlines()[-1]
            return frozenset((folder, name) for folder, name in json.loads(line))
        except (IndexError, ValueError, TypeError) as exc:
            words = self._errors.decode("utf-8", "replace").strip()[-300:]
            raise AgentError(
                f"Python on the VM could not look for modules (exit {code}): {words}",
                "Is `python` in [remote] right?",
            ) from exc


def _environment(config: Config) -> dict[str, str]:
    return {**config.remote.env, **config.run.env}
