"""Keeps the VM in reach: reads the configuration, connects, reconnects, lets go.

On the engine thread. Owns the link and the uplink; what is sent through them is the
session's business.
"""

from __future__ import annotations

import getpass
import platform
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from ..core.config import Config, LinkConfig
from ..core.endpoint import apply_endpoint, leads_alike, relay_machine
from ..core.events import Ask, LinkState
from ..errors import DevsyncError, LinkLost, connection_closed
from ..link.base import Link, Stream
from ..link.hostkeys import pins_of
from ..link.providers import OpenLink
from ..remote.client import Reply
from . import places
from .connector import Connector, Report
from .loop import EngineLoop
from .project import load_project, with_key_of
from .store import Store
from .uplink import Target, Uplink

_BUSY_S = 300.0  # after this long without activity the link is pinged less often

OnLink = Callable[[DevsyncError | None], None]


class Owner(Protocol):
    """What the session does when the link changes."""

    def went_online(self, uplink: Uplink) -> None: ...
    def went_offline(self) -> None: ...
    def use_config(self, config: Config) -> None: ...


class Reach:
    def __init__(
        self,
        root: Path,
        profile: str | None,
        loop: EngineLoop,
        ask: Ask,
        owner: Owner,
        *,
        open_link: OpenLink,
    ) -> None:
        self._root = root
        self._profile = profile
        self._loop = loop
        self._ask = ask
        self._owner = owner
        self._open_link = open_link
        self._endpoint: str | None = None
        self._pasted_over: LinkConfig | None = None  # [link] when that was pasted
        self._link: Link | None = None
        self._connector: Connector | None = None
        self._waiting: list[OnLink] = []
        self._hasty: list[OnLink] = []
        self._active = time.monotonic()
        self._was_online = False
        self._session_id = uuid.uuid4().hex
        self.config: Config | None = None
        self.store: Store | None = None
        self.uplink: Uplink | None = None
        self.state: LinkState = "offline"
        self.message: str | None = None
        self.rtt_ms: float | None = None

    @property
    def label(self) -> str:
        return self._link.label if self._link else ""

    @property
    def remote_env(self) -> Mapping[str, str]:
        """`[remote] env`: for every program on the VM."""
        return self.config.remote.env if self.config else {}

    def place(self, path: str) -> str:
        """Where an absolute path of the configuration really is on the VM."""
        return self._link.place(path) if self._link else path

    @property
    def is_wanted(self) -> bool:
        return self.uplink is not None or self._connector is not None

    def note_activity(self) -> None:
        """Somebody saved or asked: ping often, and do not wait to reconnect."""
        self._active = time.monotonic()
        if self._connector is not None:
            self._connector.hurry()

    def open_stream(self) -> Stream:
        """A stream of one's own to the agent; any thread. LinkLost."""
        uplink = self.uplink
        if uplink is None:
            raise LinkLost("The link was lost.", "Try again when it is back.")
        return uplink.open_stream()

    # --- going online -------------------------------------------------------------

    def when_online(self, then: OnLink, *, is_patient: bool = True) -> None:
        """Runs `then` once the link is up, or with the reason why it is not. Who is
        patient waits for a link that was lost; others hear how the next attempt ends.
        """
        self.note_activity()
        try:
            if self.config is not None:  # it may have been edited meanwhile
                self._owner.use_config(self.read_config())
            if self.uplink is not None:
                self.message = None
                then(None)
                return
            config, store = self._open()
            if self._connector is None:
                self._start(config, store)
        except DevsyncError as exc:
            self.message = str(exc)
            if self.uplink is None:
                self.state = "blocked"
            then(exc)
            return
        (self._waiting if is_patient else self._hasty).append(then)

    def use_endpoint(self, endpoint: str | None) -> None:
        """From now on the VM is where the pasted connect string says. ConfigError: it
        says nothing, and all stays as it was."""
        if endpoint is not None and endpoint != self._endpoint:
            self._read(endpoint)
            self.go_offline()
            self._endpoint, self.config = endpoint, None
            self._pasted_over = load_project(self._root, self._profile).link

    def forget_host_key(self) -> None:
        """Drops the VM's pin, not the relay's: that is another machine, which stays.
        ConfigError if the configuration cannot be read."""
        config, store = self._open()
        relay = config.link.relay if config.link.provider == "relay" else None
        spared = relay_machine(relay) if relay else None
        pins_of(store.folder).forget(self._profile, spared)

    def _open(self) -> tuple[Config, Store]:
        if self.config is None:
            self.config = self.read_config()
        if self.store is None:
            self.store = Store(places.project_state_dir(self._root, self._profile))
        return self.config, self.store

    def read_config(self) -> Config:
        """ConfigError. What was pasted holds until the file says another place: then
        that is what the person wants."""
        old = self._pasted_over
        if old is not None:
            link = load_project(self._root, self._profile).link
            if not leads_alike(old, link):
                self._endpoint = self._pasted_over = None
        return self._read(self._endpoint)

    def _read(self, endpoint: str | None) -> Config:
        config = load_project(self._root, self._profile)
        if endpoint is None:
            return config
        link = apply_endpoint(config.link, endpoint)
        return replace(config, link=with_key_of(self._root, link))

    def _start(self, config: Config, store: Store) -> None:
        if self._link is None:
            self._link = self._open_link(
                config.link,
                profile=self._profile,
                state_dir=store.folder,
                cache_dir=places.cache_dir(),
                name=config.name,
            )
        target = Target(
            link=self._link,
            python=config.remote.python,
            root=self._link.place(config.remote.root or f"/content/{config.name}"),
            client_id=store.client_id,
            session_id=self._session_id,
            shown=f"{getpass.getuser()} on {platform.node()}",
        )
        self.state = "lost" if self._was_online else "connecting"
        self._connector = Connector(
            target,
            self._ask,
            lambda report: self._loop.post(partial(self._reported, report)),
        )
        self._connector.start()

    def _reported(self, report: Report) -> None:
        """One attempt of the connector ended."""
        if self._connector is None:  # told to stop meanwhile
            if report.uplink is not None:
                report.uplink.close()
        elif report.uplink is not None:
            self._connector = None
            self._arrive(report.uplink)
        elif report.error is not None:
            self._note_failure(report.error, report.is_final)

    def _note_failure(self, error: DevsyncError, is_final: bool) -> None:
        self.message = str(error)
        if is_final:
            self._connector = None
            self.state = "blocked"
        if is_final or not self._was_online:
            self._answer(error)  # a link that was lost is waited for; a new one is not
        else:
            self._answer_hasty(error)

    def _answer(self, error: DevsyncError | None) -> None:
        self._answer_hasty(error)
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(error)

    def _answer_hasty(self, error: DevsyncError | None) -> None:
        hasty, self._hasty = self._hasty, []
        for then in hasty:
            then(error)

    def _arrive(self, uplink: Uplink) -> None:
        self.uplink = uplink
        self.state, self.message, self._was_online = "online", None, True
        uplink.watch(
            is_busy=lambda: time.monotonic() - self._active < _BUSY_S,
            on_rtt=lambda rtt_s: self._loop.post(partial(self._note_rtt, rtt_s)),
            on_lost=lambda error: self._loop.post(lambda: self._lost(uplink, error)),
        )
        self._owner.went_online(uplink)
        self.ask_machine(lambda: None)
        self._answer(None)

    def ask_machine(self, then: Callable[[], None]) -> None:
        """Asks the VM for GPU, disk and up time anew; `then` runs once the status has
        them, or at once if there is no link."""
        uplink = self.uplink
        if uplink is None:
            then()
            return

        def note(reply: Reply) -> None:
            uplink.note(reply)
            self._loop.post(then)  # what is posted now runs after the status was told

        uplink.client.send(
            {"op": "machine"}, b"", lambda reply: self._loop.post(partial(note, reply))
        )

    def _note_rtt(self, rtt_s: float) -> None:
        rtt_ms = rtt_s * 1000
        self.rtt_ms = round(rtt_ms, 1 if rtt_ms < 10 else None)

    # --- going offline ------------------------------------------------------------

    def _lost(self, uplink: Uplink, error: DevsyncError) -> None:
        if uplink is not self.uplink or self.config is None or self.store is None:
            return
        self.uplink, self.rtt_ms = None, None
        self._owner.went_offline()
        self.message = str(error)
        self._start(self.config, self.store)

    def block(self, message: str) -> None:
        """Offline until somebody connects again."""
        self.go_offline()
        self.state, self.message = "blocked", message

    def go_offline(self) -> None:
        """Stops trying, closes everything, tells who waits."""
        if self._connector is not None:
            self._connector.stop()
            self._connector = None
        uplink, self.uplink = self.uplink, None
        if uplink is not None:
            self._owner.went_offline()
            uplink.close()
        if self._link is not None:
            self._link.close()
            self._link = None
        self.state, self.message, self.rtt_ms = "offline", None, None
        self._was_online = False
        self._answer(connection_closed())

    def close(self) -> None:
        self.go_offline()
        if self.store is not None:
            self.store.close()
            self.store = None
