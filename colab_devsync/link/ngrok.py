"""Provider `ngrok`: the VM's TCP endpoint at ngrok, found through its API.

The address changes with each start of the tunnel; the notebook marks its endpoint with
the project's name, and that mark is looked for. Then it is an address like any other.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..core.events import Ask
from ..errors import AuthFailed, ConfigError, ConnectFailed, LinkError, VmAbsent
from .base import Connection
from .hostkeys import Trust
from .keys import identities
from .ssh import Endpoint, open_connection
from .wire import dial

API_VARIABLE = "COLAB_DEVSYNC_NGROK_API"
_API = "https://api.ngrok.com"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PAGES = 20
_MAX_ANSWER = 4 << 20
FREE = (
    "ngrok's free plan ends at 1 GB out and 5,000 TCP connections a month and 3 "
    "endpoints, and wants a card for TCP"
)


class NgrokLink:
    """Implements `Link` of link/base.py. `names`: of the project and the profile; the
    first that an endpoint is marked with counts."""

    def __init__(
        self,
        names: Sequence[str],
        user: str,
        trust: Callable[[str], Trust],
        *,
        api_key_env: str,
        identity_file: str | None,
    ) -> None:
        self._names = tuple(names)
        self._user = user
        self._trust = trust
        self._api_key_env = api_key_env
        self._identity_file = identity_file
        self._found: Endpoint | None = None

    @property
    def label(self) -> str:
        if self._found is not None:
            return self._found.label
        return f"{self._user}@ngrok:{self._names[0]}"

    def connect(self, ask: Ask, timeout_s: float) -> Connection:
        """VmAbsent: no endpoint of this project. AuthFailed: the API key is refused."""
        host, port = find(self._names, self._api_key_env, timeout_s)
        endpoint = Endpoint(self._user, host, port)
        self._found = endpoint
        with identities(self._identity_file, Path.home()) as keys:
            try:
                wire = dial(host, port, timeout_s)
            except ConnectFailed as error:
                raise ConnectFailed(
                    f"ngrok names {endpoint.machine}, but it is not reached: "
                    f"{error.message}",
                    f"look at the tunnel in the notebook; {FREE}",
                ) from error
            trust = self._trust(endpoint.machine)
            return open_connection(
                wire, endpoint, trust, keys, ask=ask, timeout_s=timeout_s
            )

    def place(self, path: str) -> str:
        return path

    def close(self) -> None:
        """Nothing was started."""


def find(names: Sequence[str], api_key_env: str, timeout_s: float) -> tuple[str, int]:
    """Where the VM is now: the first of `names` that an endpoint is marked with.
    ConfigError, AuthFailed, VmAbsent, ConnectFailed."""
    key = os.environ.get(api_key_env, "").strip()
    if not key:
        raise ConfigError(
            f"the environment variable {api_key_env}, which holds the ngrok "
            "API key, is not set where the daemon was started",
            "set it (make the key at dashboard.ngrok.com/api-keys; it is not the "
            "authtoken), then `colab-devsync daemon stop` and connect again",
        )
    endpoints = list(_tcp_endpoints(key, timeout_s))
    for name in names:
        ours = [one for one in endpoints if one.metadata == f"devsync:{name}"]
        if len(ours) == 1:
            return ours[0].host, ours[0].port
        if ours:
            shown = ", ".join(f"{one.host}:{one.port}" for one in ours)
            raise ConnectFailed(
                f'{len(ours)} ngrok endpoints are marked "devsync:{name}": {shown}',
                "stop the tunnel of the VM you do not mean, or give its project "
                "another `name`",
            )
    others = f" ({len(endpoints)} other TCP endpoints)" if endpoints else ""
    raise VmAbsent(
        f'ngrok has no TCP endpoint marked "devsync:{names[-1]}"{others}',
        "run the notebook (`colab-devsync notebook` writes it) with the authtoken "
        f"of the same account; {FREE}",
    )


@dataclass(frozen=True)
class _Found:
    host: str
    port: int
    metadata: str


def _tcp_endpoints(key: str, timeout_s: float) -> Iterator[_Found]:
    url = f"{_base()}/endpoints"
    for _ in range(_PAGES):
        page = _get(url, key, timeout_s)
        try:
            for entry in page["endpoints"]:
                address = urlsplit(str(entry.get("public_url", "")))
                is_tcp = "tcp" in (entry.get("proto"), address.scheme)
                if is_tcp and address.hostname and address.port:
                    mark = str(entry.get("metadata") or "").strip()
                    yield _Found(address.hostname, address.port, mark)
            following = page.get("next_page_uri")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _not_understood() from error
        if not following:
            return
        # Only its query is taken: the key goes nowhere else.
        url = f"{_base()}/endpoints?{urlsplit(str(following)).query}"


def _base() -> str:
    """Its API. `COLAB_DEVSYNC_NGROK_API` overrides; without TLS only on loopback."""
    base = os.environ.get(API_VARIABLE, _API).rstrip("/")
    parts = urlsplit(base)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise ConfigError(
            f"{API_VARIABLE} is {base}: the API key is sent over https only",
            "remove the variable, or use https",
        )
    return base


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _get(url: str, key: str, timeout_s: float) -> Mapping[str, Any]:
    headers = {"Authorization": f"Bearer {key}", "Ngrok-Version": "2"}
    request = urllib.request.Request(url, headers=headers)
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            found: Mapping[str, Any] = json.loads(answer.read(_MAX_ANSWER))
            return found
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error.code, error.read(_MAX_ANSWER)) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ConnectFailed(
            f"ngrok's API does not answer: {reason}",
            "check your network; `direct` with the address that the notebook shows "
            "needs no API",
        ) from error
    except ValueError as error:
        raise _not_understood() from error


def _refusal(status: int, body: bytes) -> LinkError:
    try:
        said = str(json.loads(body)["msg"]).strip()
    except (ValueError, TypeError, KeyError):
        said = "no reason given"
    if status in (401, 403):
        return AuthFailed(
            f"ngrok does not accept the API key (HTTP {status}: {said[:300]})",
            "an API key is made at dashboard.ngrok.com/api-keys; the authtoken of the "
            "notebook is another thing",
        )
    return ConnectFailed(
        f"ngrok's API answered HTTP {status} ({said[:300]})",
        "it is tried again; `direct` with the address that the notebook shows needs "
        "no API",
    )


def _not_understood() -> ConnectFailed:
    return ConnectFailed(
        "ngrok's API answers in a form that is not known",
        "update colab-devsync, or use `direct` with the address the notebook shows",
    )
