"""Provider `ngrok`: a stand-in for its HTTP API, and a real SSH server."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from colab_devsync.core.events import Question
from colab_devsync.errors import (
    AuthFailed,
    ConfigError,
    ConnectFailed,
    LinkError,
    VmAbsent,
)
from colab_devsync.link.base import Connection
from tests.support.remotes import Remote
from tests.support.streams import receive

pytestmark = pytest.mark.openssh


class Api(http.server.ThreadingHTTPServer):
    """`pages` of endpoints; `status` other than 200 is answered to everything."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: list[list[dict[str, Any]]] = [[]]
        self.status = 200
        self.body: object = {"error_code": "ERR_NGROK_1", "msg": "As told."}
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        self.server.headers.append(dict(self.headers))
        url = urlsplit(self.path)
        status, body = self.server.status, self.server.body
        if status == 200 and url.path != "/endpoints":
            status = 404
        elif status == 200 and self.headers["Authorization"] != "Bearer right-key":
            status, body = 401, {"msg": "The API key is invalid."}
        elif status == 200:
            number = int(url.query.removeprefix("page=") or 0)
            following = f"https://elsewhere.example.com/endpoints?page={number + 1}"
            is_last = number + 1 == len(self.server.pages)
            body = {
                "endpoints": self.server.pages[number],
                "uri": "https://api.ngrok.com/endpoints",
                "next_page_uri": None if is_last else following,
            }
        data = json.dumps(body).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    with Api() as api:
        thread = threading.Thread(target=api.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        monkeypatch.setenv("COLAB_DEVSYNC_NGROK_API", api.url)
        monkeypatch.setenv("NGROK_API_KEY", "right-key")
        yield api
        api.shutdown()
        thread.join(30)


def endpoint(port: int, metadata: str | None, proto: str = "tcp") -> dict[str, Any]:
    """As ngrok describes one."""
    return {
        "id": "ep_1",
        "proto": proto,
        "public_url": f"{proto}://127.0.0.1:{port}",
        "hostport": f"127.0.0.1:{port}",
        "metadata": metadata,
        "type": "ephemeral",
    }


def connect(remote: Remote, **options: Any) -> Connection:
    return remote.connect(provider="ngrok", host=None, **options)


def test_the_marked_endpoint_is_found(remote: Remote, api: Api) -> None:
    port = remote.login.port
    api.pages = [
        [endpoint(1, "devsync:other"), endpoint(1, None), endpoint(1, "")],
        [endpoint(1, "devsync:test", "https"), endpoint(port, "devsync:test")],
    ]
    assert receive(connect(remote).exec("echo in"), 3) == b"in\n"
    assert len(api.headers) == 2
    for sent in api.headers:
        assert sent["Ngrok-Version"] == "2"
        assert sent["Authorization"] == "Bearer right-key"


def test_the_label_says_where_it_led(remote: Remote, api: Api) -> None:
    port = remote.login.port
    api.pages = [[endpoint(port, "devsync:test")]]
    link = remote.link(provider="ngrok", host=None)
    assert link.label.endswith("@ngrok:test")
    link.connect(lambda question: "no", 10).close()
    assert link.label == f"{remote.login.user}@127.0.0.1:{port}"


def test_an_unknown_host_key_is_asked_about(remote: Remote, api: Api) -> None:
    asked: list[Question] = []

    def yes(question: Question) -> str:
        asked.append(question)
        return "yes"

    api.pages = [[endpoint(remote.login.port, "devsync:test")]]
    for _ in range(2):
        connect(remote, host_key=None, ask=yes).close()
    assert len(asked) == 1


def test_no_endpoint_of_ours(remote: Remote, api: Api) -> None:
    api.pages = [[endpoint(1, "devsync:other")]]
    with pytest.raises(VmAbsent, match=r'"devsync:test" \(1 other') as caught:
        connect(remote)
    assert "notebook" in caught.value.hint
    assert "1 GB" in caught.value.hint


def test_several_endpoints_of_ours(remote: Remote, api: Api) -> None:
    api.pages = [[endpoint(1, "devsync:test"), endpoint(2, "devsync:test")]]
    with pytest.raises(ConnectFailed, match=r"2 ngrok endpoints.*:1, 127.*:2"):
        connect(remote)


def test_an_endpoint_that_leads_nowhere(remote: Remote, api: Api) -> None:
    api.pages = [[endpoint(1, "devsync:test")]]
    with pytest.raises(ConnectFailed, match=r"ngrok names 127\.0\.0\.1:1") as caught:
        connect(remote)
    assert "free plan" in caught.value.hint


def test_without_the_key(
    remote: Remote, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NGROK_API_KEY")
    with pytest.raises(ConfigError, match="NGROK_API_KEY") as caught:
        connect(remote)
    assert "daemon stop" in caught.value.hint
    monkeypatch.setenv("MY_KEY", "wrong-key")
    with pytest.raises(AuthFailed, match="The API key is invalid") as refused:
        connect(remote, api_key_env="MY_KEY")
    assert "authtoken" in refused.value.hint
    assert "wrong-key" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (403, {"msg": "Not yours."}, AuthFailed, "Not yours"),
        (429, {"msg": "Too many."}, ConnectFailed, "HTTP 429.*Too many"),
        (500, "oops", ConnectFailed, "HTTP 500 .no reason"),
        (302, {}, ConnectFailed, "HTTP 302"),
        (200, None, ConnectFailed, "form that is not known"),
    ],
)
def test_what_the_api_answers(
    remote: Remote,
    api: Api,
    status: int,
    body: object,
    kind: type[LinkError],
    message: str,
) -> None:
    api.status, api.body = status, body
    if status == 200:
        api.pages = [["nonsense"]]  # type: ignore[list-item]
    with pytest.raises(kind, match=message):
        connect(remote)


def test_the_key_is_sent_over_tls_only(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NGROK_API_KEY", "right-key")
    monkeypatch.setenv("COLAB_DEVSYNC_NGROK_API", "http://api.example.com")
    with pytest.raises(ConfigError, match="over https only"):
        connect(remote)


def test_an_api_that_does_not_answer(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NGROK_API_KEY", "right-key")
    monkeypatch.setenv("COLAB_DEVSYNC_NGROK_API", "http://127.0.0.1:1")
    with pytest.raises(ConnectFailed, match=r"does not answer.*refused"):
        connect(remote)
