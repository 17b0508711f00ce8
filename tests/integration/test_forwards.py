"""Ports of the VM on this machine: bytes, ends, resets, crowds, drops."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colab_devsync.core.runs import ForwardInfo
from colab_devsync.errors import DevsyncError
from tests.support.ports import free_port
from tests.support.project import Project
from tests.support.proxy import ChaosProxy
from tests.support.servers import Server
from tests.support.sshd import Sshd
from tests.support.streams import receive

WAIT_S = 60.0
_RESET = struct.pack("ii", 1, 0)

MakeServer = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[MakeServer]:
    """`serve("echo")`: a server on the VM, which is this machine."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(Server(*args, **more))


def forward(project: Project, server: Server, local_port: int = 0) -> ForwardInfo:
    return project.session.forwards.open(server.port, local_port).result(WAIT_S)


def connect(info: ForwardInfo) -> socket.socket:
    return socket.create_connection(("127.0.0.1", info.local_port), WAIT_S)


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 18), b""))


def wait_unused(project: Project) -> None:
    """Until no connection is left, and no thread of one."""

    def is_unused() -> bool:
        threads = {thread.name for thread in threading.enumerate()}
        left = {"devsync-forward", "devsync-forward-down"} & threads
        return not (project.session.forwards.is_in_use or left)

    project.wait(is_unused, "all connections have ended")


def is_refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


# --- bytes and ends ---------------------------------------------------------------


def test_a_page_of_the_vm_in_the_browser(
    project: Project, serve: MakeServer, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("<h1>curves</h1>")
    info = forward(project, serve("http", folder=tmp_path))
    with urllib.request.urlopen(info.url, timeout=WAIT_S) as page:
        assert page.read() == b"<h1>curves</h1>"


def test_the_end_of_input_is_passed_on_and_the_answer_still_comes(
    project: Project, serve: MakeServer
) -> None:
    with connect(forward(project, serve("echo"))) as sock:
        sock.sendall(b"text")
        assert receive(sock, 4) == b"text"
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"bye"
    wait_unused(project)


def test_the_end_of_output_is_passed_on_and_the_rest_still_goes_up(
    project: Project, serve: MakeServer
) -> None:
    info = forward(project, serve("greet"))
    with connect(info) as sock:
        assert read_all(sock) == b"hello []"
        sock.sendall(bytes(700_000))
    wait_unused(project)
    with connect(info) as sock:
        assert read_all(sock) == b"hello [700000]"


def test_twenty_megabytes_each_way_at_once(project: Project, serve: MakeServer) -> None:
    data = hashlib.sha256(b"seed").digest() * 655_360
    with connect(forward(project, serve("echo"))) as sock:
        sender = threading.Thread(target=lambda: (sock.sendall(data), _end(sock)))
        sender.start()
        received = read_all(sock)
        sender.join()
    assert hashlib.sha256(received).digest() == hashlib.sha256(data + b"bye").digest()


def _end(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def test_a_reader_that_rests_holds_the_vm_back(
    project: Project, serve: MakeServer
) -> None:
    with connect(forward(project, serve("source"))) as sock:
        sock.sendall(b"200000000\n")
        assert sock.recv(1000)
        # Nobody reads on: what is buffered on the way is bounded, the rest stays there.
        other = forward(project, serve("echo"))
        with connect(other) as echo:
            echo.sendall(b"still quick")
            assert receive(echo, 11) == b"still quick"
        count = len(read_all(sock))
    assert count > 199_990_000


# --- broken connections -----------------------------------------------------------


def test_a_reset_of_the_local_program_ends_it_on_the_vm(
    project: Project, serve: MakeServer
) -> None:
    info = forward(project, serve("source"))
    for _ in range(20):
        with connect(info) as sock:
            sock.sendall(b"50000000\n")
            assert sock.recv(1000)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    wait_unused(project)


def test_a_reset_while_the_vm_takes_nothing_ends_it_too(
    project: Project, serve: MakeServer
) -> None:
    with connect(forward(project, serve("hang"))) as sock:
        assert receive(sock, 5) == b"ready"
        sock.settimeout(1.0)
        with pytest.raises(TimeoutError):
            sock.sendall(bytes(100_000_000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    wait_unused(project)


def test_a_reset_on_the_vm_ends_it_here(project: Project, serve: MakeServer) -> None:
    info = forward(project, serve("reset"))
    for _ in range(20):
        with connect(info) as sock:
            sock.sendall(b"x")
            with contextlib.suppress(ConnectionError):
                assert read_all(sock) == b""
    wait_unused(project)


def test_nothing_listens_there(project: Project) -> None:
    port = free_port()
    info = project.session.forwards.open(port).result(WAIT_S)
    with connect(info) as sock:
        assert read_all(sock) == b""
    problem = project.wait_problem("")
    assert str(port) in problem.message
    assert "nothing listens" in problem.message
    with Server("echo", port), connect(info) as sock:
        sock.sendall(b"now")
        assert receive(sock, 3) == b"now"
        project.wait(
            lambda: not project.session.status().problems, "the problem is gone"
        )


# --- crowds -----------------------------------------------------------------------


def test_two_hundred_connections_at_once(project: Project, serve: MakeServer) -> None:
    info = forward(project, serve("echo"))
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect(info)) for _ in range(200)]
        for number, sock in enumerate(socks):
            sock.sendall(b"%d" % number)
        for number, sock in enumerate(socks):
            assert receive(sock, len(str(number))) == b"%d" % number
        project.wait(
            lambda: sum(one.connections for one in project.session.status().forwards),
            "they are counted",
        )
    wait_unused(project)


# --- ports ------------------------------------------------------------------------


def test_it_listens_on_loopback_only(project: Project, serve: MakeServer) -> None:
    info = forward(project, serve("echo"))
    with socket.create_server(("127.0.0.2", info.local_port)):
        pass  # free on every other address


def test_a_taken_port_moves_to_the_next_free_one(
    project: Project, serve: MakeServer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        wish = other.getsockname()[1]
        info = forward(project, serve("echo"), wish)
    assert info.local_port > wish
    assert info.moved_from == wish
    assert info.url == f"http://127.0.0.1:{info.local_port}/"
    assert info in project.session.forwards.snapshot


def test_nobody_else_gets_the_port(project: Project, serve: MakeServer) -> None:
    info = forward(project, serve("echo"))
    with pytest.raises(OSError), socket.create_server(("127.0.0.1", info.local_port)):
        pass


def test_opening_it_again_gives_the_same(project: Project, serve: MakeServer) -> None:
    server = serve("echo")
    first = forward(project, server)
    assert forward(project, server) == first
    assert forward(project, server, first.local_port) == first
    second = forward(project, server, first.local_port + 1)
    assert second.local_port != first.local_port
    assert forward(project, server, first.local_port + 1) == second


def test_the_vms_own_port_is_left_to_the_vm(project: Project) -> None:
    """Where the "VM" is this machine, a program there may still want its port."""
    port = free_port()
    info = project.session.forwards.open(port, port).result(WAIT_S)
    assert info.moved_from == port
    with Server("echo", port), connect(info) as sock:
        sock.sendall(b"x")
        assert sock.recv(10) == b"x"


def test_closing_frees_the_port_and_cuts_connections(
    project: Project, serve: MakeServer
) -> None:
    server = serve("hang")
    info = forward(project, server)
    with connect(info) as sock:
        assert receive(sock, 5) == b"ready"
        closed = project.session.forwards.close(info.local_port).result(WAIT_S)
        assert [one.local_port for one in closed] == [info.local_port]
        with pytest.raises(ConnectionError):
            read_all(sock)
    assert is_refused(info.local_port)
    assert info not in project.session.forwards.snapshot
    wait_unused(project)
    with pytest.raises(DevsyncError, match="no forward"):
        project.session.forwards.close(info.local_port).result(WAIT_S)


def test_closing_the_session_ends_all(project: Project, serve: MakeServer) -> None:
    info = forward(project, serve("hang"))
    with connect(info) as sock:
        assert receive(sock, 5) == b"ready"
        project.close()
        with pytest.raises(ConnectionError):
            read_all(sock)
    # That no thread is left, the fixture checks.


# --- the configuration ------------------------------------------------------------


def test_configured_forwards_open_and_close_with_the_file(
    project: Project, serve: MakeServer
) -> None:
    one, two = serve("echo"), serve("echo")
    table = '[[forward]]\nname = "{}"\nremote_port = {}\n'
    project.configure(more=table.format("one", one.port))
    project.connect()
    status = project.wait(lambda: _named(project, "one"), "it is open")
    with connect(status) as sock:
        sock.sendall(b"x")
        assert sock.recv(10) == b"x"
    project.configure(more=table.format("two", two.port))
    project.session.config_changed()
    project.wait(lambda: _named(project, "two"), "the other is open")
    assert _named(project, "one") is None
    assert is_refused(status.local_port)


def _named(project: Project, name: str) -> ForwardInfo | None:
    found = project.session.status().forwards
    return next((one for one in found if one.name == name), None)


# --- the link ---------------------------------------------------------------------


def test_it_works_again_after_a_drop(
    project: Project, serve: MakeServer, proxy: ChaosProxy
) -> None:
    project.configure(port=proxy.port)
    info = forward(project, serve("echo"))
    with connect(info) as sock:
        sock.sendall(b"x")
        assert sock.recv(10) == b"x"
        proxy.reset_all()
        with pytest.raises(ConnectionError):
            read_all(sock)
    with connect(info) as sock:
        sock.sendall(b"again")
        assert receive(sock, 5) == b"again"
    wait_unused(project)


def test_a_connection_waits_for_a_link_that_is_down(
    project: Project, serve: MakeServer, proxy: ChaosProxy
) -> None:
    project.configure(port=proxy.port)
    info = forward(project, serve("echo"))
    proxy.refuse()
    proxy.reset_all()
    project.wait_link("lost")
    with connect(info) as sock:
        sock.sendall(b"early")
        project.wait(lambda: project.session.forwards.is_in_use, "it is taken")
        proxy.refuse(False)
        assert receive(sock, 5) == b"early"


def test_a_silent_drop_in_a_download_looks_broken(
    project: Project, serve: MakeServer, proxy: ChaosProxy
) -> None:
    project.configure(port=proxy.port)
    with connect(forward(project, serve("source"))) as sock:
        sock.sendall(b"100000000\n")
        assert sock.recv(1000)
        proxy.freeze()
        with pytest.raises(ConnectionError):
            read_all(sock)
        proxy.unfreeze()


def test_after_a_disconnect_connections_end_at_once(
    project: Project, serve: MakeServer
) -> None:
    info = forward(project, serve("echo"))
    project.session.disconnect().result(WAIT_S)
    with connect(info) as sock:
        assert read_all(sock) == b""
    assert project.session.status().link == "offline"
    project.connect()
    with connect(info) as sock:
        sock.sendall(b"x")
        assert sock.recv(10) == b"x"


def test_it_leads_to_the_vm_that_came_after(
    project: Project, serve: MakeServer, tmp_path: Path
) -> None:
    info = forward(project, serve("echo"))
    project.configure(vm=tmp_path / "vm-2")
    project.session.config_changed()
    project.sync()
    with connect(info) as sock:
        sock.sendall(b"x")
        assert sock.recv(10) == b"x"
    assert (tmp_path / "vm-2" / ".colab-devsync").is_dir()


def test_a_server_that_forbids_forwarding(
    project: Project, serve: MakeServer, make_sshd: Callable[..., Sshd]
) -> None:
    sshd = make_sshd(forwarding=False)
    project.configure(
        port=sshd.port,
        user=sshd.user,
        identity_file=str(sshd.identity_file),
        host_key=sshd.fingerprint,
    )
    with connect(forward(project, serve("echo"))) as sock:
        sock.sendall(b"text")
        assert receive(sock, 4) == b"text"
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"bye"
    with connect(forward(project, serve("greet"))) as sock:
        assert read_all(sock) == b"hello []"
        sock.sendall(bytes(700_000))
    wait_unused(project)
