"""Provider `direct`: an SSH server at a host and port (bore, frp, chisel too)."""

from __future__ import annotations

from pathlib import Path

from ..core.events import Ask
from .base import Connection
from .hostkeys import Trust
from .keys import identities
from .ssh import Endpoint, open_connection
from .wire import dial


class DirectLink:
    """Implements `Link` of link/base.py."""

    def __init__(
        self, endpoint: Endpoint, trust: Trust, identity_file: str | None
    ) -> None:
        self._endpoint = endpoint
        self._trust = trust
        self._identity_file = identity_file

    @property
    def label(self) -> str:
        return self._endpoint.label

    def connect(self, ask: Ask, timeout_s: float) -> Connection:
        with identities(self._identity_file, Path.home()) as keys:
            wire = dial(self._endpoint.host, self._endpoint.port, timeout_s)
            return open_connection(
                wire, self._endpoint, self._trust, keys, ask=ask, timeout_s=timeout_s
            )

    def place(self, path: str) -> str:
        return path

    def close(self) -> None:
        """Nothing was started."""
