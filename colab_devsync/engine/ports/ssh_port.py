"""The VM's own SSH server on a local port that stays the same, for plain `ssh`.

On the engine thread; `access` and `problem` may be read from any. The port is chosen
once and kept in the store; the project's known_hosts holds the key that the newest
connection proved, so that `ssh` trusts exactly what the session trusts.
"""

from __future__ import annotations

import logging
import os
import zlib
from pathlib import Path

from ...core.config import Config
from ...core.events import Emit, Problem, SshReady
from ...core.runs import ForwardInfo
from ...core.ssh_access import SshAccess, alias_of
from ...errors import DevsyncError
from .. import places
from ..reach import Reach
from ..store import Store, peek
from ..uplink import Uplink
from .forwards import Forwards
from .local_port import is_taken
from .replace_file import replace_file

_log = logging.getLogger(__name__)

NAME = "ssh"  # of the forward
_KEY = "ssh_port"  # in the store
# Below the ports that systems give to outgoing connections, so that ours stays free.
_FIRST, _SPREAD, _TRIES = 20_000, 10_000, 100
_USUAL = ("127.0.0.1", 22)  # where the server does not say at which port it took us


class SshPort:
    def __init__(
        self, root: Path, profile: str | None, forwards: Forwards, emit: Emit
    ) -> None:
        self._root = root
        self._profile = profile
        self._forwards = forwards
        self._emit = emit
        self._wish = 0  # `[ssh] local_port` when the port was opened
        self._port = 0
        self.access: SshAccess | None = None
        """None while the session was not online yet, or there is no way."""
        self.problem: Problem | None = None

    def look(self, reach: Reach) -> None:
        """The link came up, maybe to another VM, or the configuration changed."""
        uplink, config, store = reach.uplink, reach.config, reach.store
        if uplink is None or config is None or store is None:
            return
        login = uplink.connection.login
        if login is None:
            return
        alias = alias_of(config.name, self._profile)
        known_hosts = store.folder.absolute() / "known_hosts"
        try:
            replace_file(known_hosts, f"{alias} {login.host_key}\n", mode=0o600)
            self._open(uplink, config, store)
        except (DevsyncError, OSError) as exc:
            self.access = None
            self.problem = Problem("", f"There is no port for plain `ssh`: {exc}")
            _log.warning("%s", self.problem.message)
            return
        access = SshAccess(
            alias=alias,
            folder=str(self._root),
            profile=self._profile,
            port=self._port,
            user=login.user,
            known_hosts=str(known_hosts),
            identity_file=login.identity_file,
        )
        if access != self.access:
            self.access = access
            self._emit(SshReady(access))

    def _open(self, uplink: Uplink, config: Config, store: Store) -> None:
        wish = config.ssh.local_port
        ports = [info.local_port for info in self._forwards.snapshot]
        if self._port in ports:
            if wish == self._wish:
                return
            self._forwards.close(self._port)
        asked = (
            wish or int(store.get(_KEY) or 0) or _first_free(self._root, self._profile)
        )
        host, port = _sshd(uplink)
        info = self._forwards.serve(ForwardInfo(NAME, port, asked, host), _sshd)
        self._wish, self._port = wish, info.local_port
        store.set(_KEY, str(self._port))
        self.problem = None
        if self._port != asked:
            self.problem = Problem(
                "",
                f"Port {asked} is taken by another program, so the VM's SSH server is "
                f"at 127.0.0.1:{self._port} now.",
                "The alias that `colab-devsync ssh-config` wrote knows; tell programs "
                "that were given the number.",
            )


def expected_port(root: Path, profile: str | None, config: Config) -> int:
    """The port that plain `ssh` will have, for who may not connect. `root` resolved."""
    wish = config.ssh.local_port
    kept = peek(places.project_state_dir(root, profile), _KEY)
    return wish or int(kept or 0) or _first_free(root, profile)


def _first_free(root: Path, profile: str | None) -> int:
    """The same one for the same project, unless somebody has it."""
    name = f"{root}\0{profile or ''}"
    first = _FIRST + zlib.crc32(os.fsencode(name)) % _SPREAD
    tries = range(first, first + _TRIES)
    return next((port for port in tries if not is_taken(port)), first)


def _sshd(uplink: Uplink) -> tuple[str, int]:
    """Where the VM's SSH server listens, seen from there."""
    return uplink.hello.sshd or _USUAL
