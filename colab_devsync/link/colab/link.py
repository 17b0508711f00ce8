"""Provider `colab`: Google's SSH endpoint of a runtime, in this process.

A runtime takes one SSH connection at a time. Which one it is and its token come from
Google's own `colab` command; nothing here ever makes a runtime.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

from websocket import WebSocketException

from ...core.events import Ask
from ...errors import AuthFailed, ConnectFailed, LinkError, SlotTaken
from ..base import Connection
from ..hostkeys import Pins, Trust
from ..keys import Identity
from ..ssh import Endpoint, open_connection
from . import cli
from .identity import identity_for, public_line
from .store import ColabSession, choose, not_there, read_sessions, sessions_file
from .websocket import UpgradeRefused, WebSocketWire, open_websocket

_log = logging.getLogger(__name__)

_MARGIN_S = 300.0  # a token is renewed so long before its end
_AGAIN_S = 30.0  # between two questions to Google about a session that is not there
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ColabLink:
    """Implements `Link` of link/base.py."""

    def __init__(
        self,
        session: str | None,
        user: str,
        pins: tuple[Pins, str | None],
        host_key: str | None,
        *,
        identity_file: str | None,
        state_dir: Path,
    ) -> None:
        self._wanted = session
        self._user = user
        self._pins = pins
        self._host_key = host_key
        self._identity_file = identity_file
        self._state_dir = state_dir
        self._asked_at = -_AGAIN_S
        self._lock = threading.Lock()

    @property
    def label(self) -> str:
        return f"{self._user}@colab:{self._wanted or 'the only session'}"

    def connect(self, ask: Ask, timeout_s: float) -> Connection:
        """VmAbsent, SlotTaken, AuthFailed, and what any SSH connection may raise."""
        identity = identity_for(self._identity_file, self._state_dir)
        session = self._session()
        try:
            wire = _open(session, identity, timeout_s)
        except UpgradeRefused as refused:
            if refused.status != 401:
                raise _refusal(refused, session) from refused
            # Its end may have come early; a fresh one says more than an old one.
            session = self._renewed(session)
            try:
                wire = _open(session, identity, timeout_s)
            except UpgradeRefused as again:
                raise _refusal(again, session) from again
        name = f"Colab runtime {session.endpoint}"
        endpoint = Endpoint(self._user, "", 0, name)
        trust = Trust(*self._pins, name, self._host_key, _VOUCHED)
        return open_connection(
            wire, endpoint, trust, (identity,), ask=ask, timeout_s=timeout_s
        )

    def place(self, path: str) -> str:
        return path

    def close(self) -> None:
        """Nothing was started."""

    def _session(self) -> ColabSession:
        """The session, with a token that will do for a while. VmAbsent, LinkError."""
        sessions = read_sessions(sessions_file())
        session = choose(sessions, self._wanted)
        if session is None:
            session = self._opened_elsewhere()
        if session is None:
            raise not_there(sessions, self._wanted)
        if not session.expires_within(_MARGIN_S, time.time()):
            return session
        try:
            return self._renewed(session)
        except LinkError as error:
            known = session.expires_at is not None
            if known and session.expires_within(0, time.time()):
                raise
            _log.warning("the token was not renewed, the old one is used: %s", error)
            return session

    def _renewed(self, session: ColabSession) -> ColabSession:
        """The same runtime with a new token. VmAbsent: it is gone. LinkError."""
        if cli.command() is None:
            raise AuthFailed(
                f"the token of the Colab session {session.name!r} has expired, and "
                "Google's `colab` command, which renews it, is not installed here",
                cli.INSTALL,
            )
        if session.name == session.endpoint and cli.can_list():
            found = choose(cli.runtimes(), session.endpoint)
        else:
            cli.refresh()
            found = choose(read_sessions(sessions_file()), session.name)
        if found is None:
            raise not_there(read_sessions(sessions_file()), session.name)
        return found

    def _opened_elsewhere(self) -> ColabSession | None:
        """A runtime that Google's command has no name for: one opened in the browser.
        Asked for at most every half a minute."""
        if not cli.can_list():
            return None
        with self._lock:
            if time.monotonic() - self._asked_at < _AGAIN_S:
                return None
            self._asked_at = time.monotonic()
        return choose(cli.runtimes(), self._wanted)


_VOUCHED = (
    "It was reached over TLS, with the token of your Google account; ask the runtime "
    "itself with `colab exec` to be sure."
)


def _open(session: ColabSession, identity: Identity, timeout_s: float) -> WebSocketWire:
    """UpgradeRefused, ConnectFailed."""
    parts = urlsplit(session.url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise LinkError(
            f"the Colab session {session.name!r} is at an address without TLS",
            "`colab sessions` renews it",
        )
    scheme = "ws" if parts.scheme == "http" else "wss"
    token = quote(session.token, safe="")
    url = f"{scheme}://{parts.netloc}/colab/ssh?colab-runtime-proxy-token={token}"
    header = f"X-Colab-Ssh-Pubkey: {public_line(identity.key)}"
    where = f"the Colab runtime {session.endpoint} at {parts.hostname}"
    try:
        return open_websocket(url, [header], timeout_s)
    except (WebSocketException, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        if isinstance(error, OSError) and not isinstance(error, WebSocketException):
            reason = error.strerror or str(error)
        raise ConnectFailed(
            f"cannot connect to {where}: {reason}",
            "check your network; `colab sessions` says whether the runtime is alive",
        ) from None


def _refusal(refused: UpgradeRefused, session: ColabSession) -> LinkError:
    """What Colab's statuses mean, and what to do."""
    name, status = session.name, refused.status
    if status == 400:
        return AuthFailed(
            f"Colab does not take this key (HTTP 400: {refused.body[:200]})",
            "it takes Ed25519 and ECDSA: remove `identity_file` from [link], or name "
            "such a key",
        )
    if status in (401, 403):
        return AuthFailed(
            f"Colab does not accept the token of the session {name!r} (HTTP {status}), "
            "though it is fresh",
            "run `colab sessions`: you may be logged in with another account, or the "
            "runtime is gone",
        )
    if status == 404:
        return LinkError(
            f"the runtime of the session {name!r} has no SSH (HTTP 404)",
            "it is given when a runtime is made: make a new one with `colab-devsync "
            "connect --new`; older ones and some free ones have none. A `relay` works "
            "on all of them",
        )
    if status == 429:
        return SlotTaken(
            f"somebody else holds the one SSH connection of the session {name!r} "
            "(HTTP 429)",
            "close `colab ssh` and other tools that use this runtime; it connects by "
            "itself when the connection is free",
        )
    if status == 502:
        return ConnectFailed(
            f"the SSH server of the session {name!r} does not answer (HTTP 502)",
            "it may be starting: it is tried again; if it stays so, `colab stop` and "
            "make a new runtime",
        )
    return ConnectFailed(
        f"Colab answered HTTP {status} for the session {name!r}",
        "it is tried again; `colab sessions` says whether the runtime is alive",
    )
