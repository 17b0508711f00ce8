"""`forward` and `devsync.forward`: a port of the VM, kept by the daemon."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.support.ports import free_port
from tests.support.remotes import Remote
from tests.support.servers import Server
from tests.support.streams import receive


@pytest.fixture
def here(tmp_path: Path, remote: Remote) -> Path:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    write_config(folder, remote)
    return folder


@pytest.fixture
def echo() -> Iterator[Server]:
    with Server("echo") as server:
        yield server


def lines_of(place: Place, here: Path, *arguments: str) -> list[dict[str, Any]]:
    done = place.run("--json", "forward", *arguments, cwd=here)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        sock.sendall(b"hello")
        return receive(sock, 5)


def test_it_returns_and_the_port_stays_open(
    place: Place, here: Path, echo: Server
) -> None:
    port = free_port()
    done = place.run("forward", str(echo.port), str(port), cwd=here)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"http://127.0.0.1:{port}/\n"
    assert ask(port) == b"hello"

    (again,) = lines_of(place, here, str(echo.port))
    assert (again["localPort"], again["remotePort"]) == (port, echo.port)
    listed = place.run("forward", cwd=here).stdout.decode()
    assert f"127.0.0.1:{port}" in listed

    (closed,) = lines_of(place, here, str(port), "--close")
    assert closed["localPort"] == port
    assert port not in [one["localPort"] for one in lines_of(place, here)]
    with pytest.raises(ConnectionRefusedError):
        ask(port)
    assert place.run("forward", str(port), "--close", cwd=here).returncode == 1


def test_a_taken_port_is_said(place: Place, here: Path, echo: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        done = place.run("forward", str(echo.port), str(taken), cwd=here)
        assert f"Port {taken} of this machine is taken" in done.stderr.decode()
        (info,) = lines_of(place, here, str(echo.port), str(taken))
    assert info["movedFrom"] == taken
    assert ask(info["localPort"]) == b"hello"


def test_bad_ports_are_refused(place: Place, here: Path) -> None:
    for wrong in (["0"], ["70000"], ["http"], ["80", "-1"], ["--close"]):
        assert place.run("forward", *wrong, cwd=here).returncode == 2


def test_an_editor_gets_url_and_port(place: Place, here: Path, echo: Server) -> None:
    with place.editor() as editor:
        editor.initialize(here, options={"autoConnect": False})
        wish = {"remotePort": echo.port, "localPort": free_port()}
        body = editor.job("forward", wish)
        assert body["state"] == "done"
        assert body["result"]["localPort"] == wish["localPort"]
        assert body["result"]["url"] == f"http://127.0.0.1:{wish['localPort']}/"
        assert ask(wish["localPort"]) == b"hello"
        with pytest.raises(Exception, match="'remotePort'"):
            editor.command("forward", {"remotePort": 0})
        with pytest.raises(Exception, match="needs the key"):
            editor.command("forward", {})


def test_the_daemon_lives_while_a_connection_is_open(
    place: Place, here: Path, echo: Server
) -> None:
    place.env["COLAB_DEVSYNC_LINGER_S"] = "1"
    with place.editor() as editor:  # the daemon stays until we are connected
        editor.initialize(here, options={"autoConnect": False})
        info = editor.job("forward", {"remotePort": echo.port})["result"]
        sock = socket.create_connection(("127.0.0.1", info["localPort"]), 60)
    with sock:
        with pytest.raises(AssertionError):
            place.wait_daemon_gone(3)
        sock.sendall(b"still here")
        assert receive(sock, 10) == b"still here"
    place.wait_daemon_gone(30)
