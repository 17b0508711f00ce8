"""Provider `colab` against a stand-in for /colab/ssh in front of a real SSH server."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.core.events import Question
from colab_devsync.errors import (
    AuthFailed,
    ConfigError,
    ConnectFailed,
    HostKeyChanged,
    LinkError,
    SlotTaken,
    VmAbsent,
)
from colab_devsync.link.base import Connection
from colab_devsync.link.colab.store import read_sessions
from tests.support.colab import FakeColab
from tests.support.project import Project
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Login, Remote
from tests.support.sshd import Sshd
from tests.support.streams import receive

MB = 1_000_000


class Place:
    """The stand-in, the sshd behind it, and a laptop of one's own for each test."""

    def __init__(self, colab: FakeColab, sshd: Sshd, folder: Path) -> None:
        self.colab, self.sshd = colab, sshd
        login = Login(1, sshd.user, folder / "none", sshd.fingerprint)
        self.remote = Remote("sshd", login, folder / "vm", folder / "state")
        self.remote.root.mkdir()

    def connect(self, **changes: Any) -> Connection:
        return self.remote.connect(**{**self.fields(), **changes})

    def fields(self) -> dict[str, Any]:
        no = {"host": None, "identity_file": None}
        return {"provider": "colab", "session": "train", **no}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("runtime")) as sshd:
        yield sshd


@pytest.fixture
def place(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    (server.folder / "authorized_keys").write_text("")
    keys = server.folder / "authorized_keys"
    with FakeColab(tmp_path / "colab", server.port, keys) as colab:
        for name, value in colab.env().items():
            monkeypatch.setenv(name, value)
        place = Place(colab, server, tmp_path)
        yield place
        place.remote.close()


def use_cli(
    place: Place, monkeypatch: pytest.MonkeyPatch, token: str = "", fails: str = ""
) -> None:
    line = place.colab.fake_cli(token, fails=fails)
    monkeypatch.setenv("COLAB_DEVSYNC_COLAB_CLI", line)


# --- the way in -------------------------------------------------------------------


def test_everything_works_over_the_one_connection(place: Place) -> None:
    connection = place.connect()
    program = connection.exec(f"head -c {20 * MB} | wc -c")
    download = connection.exec(f"head -c {20 * MB} /dev/zero")
    feeding = threading.Thread(target=program.write, args=(os.urandom(20 * MB),))
    feeding.start()
    count = 0
    while data := download.read(1 << 20):
        count += len(data)
    feeding.join(30)
    assert count == 20 * MB
    assert receive(program, 9) == b"%d\n" % (20 * MB)
    assert receive(connection.connect_tcp("127.0.0.1", place.sshd.port), 4) == b"SSH-"
    counts = place.colab.tell()
    assert (counts["clients"], counts["pongs"]) == (1, 1)
    connection.close()
    assert not connection.is_alive()


def test_a_key_is_made_once_for_us_alone(place: Place) -> None:
    place.connect().close()
    key = place.remote.state / "colab_ed25519"
    made = key.read_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-P", "", "-f", str(key)],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert key.with_suffix(".pub").read_text().split()[:2] == shown.split()[:2]
    login = place.connect().login
    assert key.read_bytes() == made
    assert login is not None
    assert login.identity_file == str(key)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_key_of_ones_own(place: Place, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mine"
    command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    connection = place.connect(identity_file=str(path))
    assert receive(connection.exec("echo in"), 3) == b"in\n"
    assert not (place.remote.state / "colab_ed25519").exists()


def test_an_rsa_key_is_refused_before_anything_is_sent(
    place: Place, tmp_path: Path
) -> None:
    path = tmp_path / "mine"
    command = ["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    with pytest.raises(AuthFailed, match="Ed25519 and ECDSA keys, but") as caught:
        place.connect(identity_file=str(path))
    assert "identity_file" in caught.value.hint
    assert place.colab.tell()["requests"] == 0


def test_a_runtime_without_tls_on_loopback_only(place: Place) -> None:
    place.colab.add_session("train", url=f"http://127.0.0.1:{place.colab.port}")
    assert receive(place.connect().exec("echo in"), 3) == b"in\n"
    place.colab.add_session("train", url="http://runtime.example.com")
    with pytest.raises(LinkError, match="without TLS"):
        place.connect()


def test_a_certificate_that_nobody_vouches_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ConnectFailed, match="certificate") as caught:
        place.connect()
    assert "right-token" not in caught.value.message


# --- which session ----------------------------------------------------------------


def test_without_a_name_the_only_session_is_taken(place: Place) -> None:
    assert receive(place.connect(session=None).exec("echo in"), 3) == b"in\n"
    place.colab.add_session("other")
    with pytest.raises(VmAbsent, match=r"2 Colab sessions: train \(T4\), other") as e:
        place.connect(session=None)
    assert 'session = "train"' in e.value.hint


def test_a_session_that_is_not_known(place: Place) -> None:
    with pytest.raises(
        VmAbsent, match=r"'nope'; the known ones are: train \(T4\)"
    ) as e:
        place.connect(session="nope")
    assert "connect --new" in e.value.hint


def test_no_session_at_all(place: Place) -> None:
    place.colab.sessions.unlink()
    with pytest.raises(VmAbsent, match="Colab has none at all"):
        place.connect(session=None)


def test_a_session_may_be_named_by_its_endpoint(place: Place) -> None:
    place.colab.add_session("other")
    assert receive(place.connect(session="m-s-train").exec("echo in"), 3) == b"in\n"


def test_a_list_that_is_being_written(place: Place) -> None:
    path = place.colab.sessions
    text = path.read_text()
    path.write_text(text[:50])
    pauses: list[float] = []

    def finish(pause_s: float) -> None:
        pauses.append(pause_s)
        path.write_text(text)

    assert list(read_sessions(path, finish)) == ["train"]
    assert len(pauses) == 1


def test_a_list_of_sessions_of_another_form(place: Place) -> None:
    place.colab.sessions.write_text('{"train": {"name": "train"}}')
    with pytest.raises(ConfigError, match=r"sessions\.json"):
        place.connect()


# --- the token --------------------------------------------------------------------


def test_a_token_near_its_end_is_renewed_first(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.colab.tell(tokens=["fresh-token"])
    place.colab.add_session("train", expires_in=200)
    use_cli(place, monkeypatch, "fresh-token")
    assert receive(place.connect().exec("echo in"), 3) == b"in\n"
    (call,) = place.colab.calls()
    assert call == ["--config", str(place.colab.sessions), "sessions"]
    assert place.colab.tell()["requests"] == 1


def test_a_token_that_ended_early_is_renewed_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.colab.tell(tokens=["fresh-token"])
    use_cli(place, monkeypatch, "fresh-token")
    assert receive(place.connect().exec("echo in"), 3) == b"in\n"
    assert place.colab.tell()["requests"] == 2


def test_a_fresh_token_that_is_refused_is_not_tried_for_ever(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.colab.tell(tokens=["another"])
    use_cli(place, monkeypatch, "fresh-token")
    with pytest.raises(AuthFailed, match=r"HTTP 401.*though it is fresh") as caught:
        place.connect()
    assert "colab sessions" in caught.value.hint
    assert place.colab.tell()["requests"] == 2
    assert "token" not in caught.value.message.replace("the token of", "")


def test_an_expired_token_that_nobody_can_renew(place: Place) -> None:
    place.colab.add_session("train", expires_in=-5)
    with pytest.raises(LinkError, match="no-colab-here"):
        place.connect()
    assert place.colab.tell()["requests"] == 0


def test_a_renewal_that_fails_is_quoted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.colab.add_session("train", expires_in=-5)
    use_cli(place, monkeypatch, fails="login has expired")
    with pytest.raises(LinkError, match="login has expired") as caught:
        place.connect()
    assert "in a terminal" in caught.value.hint


@pytest.mark.parametrize("known", [{"expires_in": 200}, {"token_expires_at": None}])
def test_a_failed_renewal_does_not_matter_while_the_token_is_good(
    place: Place, monkeypatch: pytest.MonkeyPatch, known: dict[str, Any]
) -> None:
    place.colab.add_session("train", **known)
    use_cli(place, monkeypatch, fails="no network")
    assert receive(place.connect().exec("echo in"), 3) == b"in\n"


def test_a_runtime_that_is_gone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.colab.tell(tokens=[])
    use_cli(place, monkeypatch, "gone")
    with pytest.raises(VmAbsent, match="no Colab session 'train'"):
        place.connect()


# --- what Colab answers -----------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "message", "hint"),
    [
        (400, AuthFailed, "does not take this key.*as told", "identity_file"),
        (403, AuthFailed, "HTTP 403", "colab sessions"),
        (404, LinkError, "has no SSH", "connect --new"),
        (429, SlotTaken, "somebody else holds", "close `colab ssh`"),
        (502, ConnectFailed, "SSH server", "tried again"),
        (503, ConnectFailed, "HTTP 503", "tried again"),
        (302, ConnectFailed, "cannot connect|HTTP 302", ""),
    ],
)
def test_each_status_has_its_words(
    place: Place, status: int, kind: type[LinkError], message: str, hint: str
) -> None:
    place.colab.tell(status=status)
    with pytest.raises(kind, match=message) as caught:
        place.connect()
    assert type(caught.value) is kind
    assert hint in caught.value.hint
    assert "right-token" not in caught.value.message


def test_one_connection_at_a_time(place: Place) -> None:
    first = place.connect()
    with pytest.raises(SlotTaken):
        place.connect()
    first.close()
    while place.colab.tell()["busy"]:
        threading.Event().wait(0.01)
    assert receive(place.connect().exec("echo in"), 3) == b"in\n"


def test_an_sshd_that_is_down(place: Place) -> None:
    place.colab.tell(sshd=1)
    with pytest.raises(ConnectFailed, match="HTTP 502"):
        place.connect()


def test_nobody_there(place: Place) -> None:
    place.colab.close()
    with pytest.raises(ConnectFailed, match=r"m-s-train at localhost.*refused"):
        place.connect()


# --- host keys --------------------------------------------------------------------


def test_host_keys_are_pinned_per_runtime(
    place: Place, make_sshd: Callable[..., Sshd]
) -> None:
    asked: list[Question] = []

    def yes(question: Question) -> str:
        asked.append(question)
        return "yes"

    for _ in range(2):
        place.connect(host_key=None, ask=yes).close()
    (question,) = asked
    assert question.text.startswith("Colab runtime m-s-train is not known yet.")
    assert "over TLS" in question.text

    other = make_sshd()
    keys = (place.sshd.folder / "authorized_keys").read_text()
    (other.folder / "authorized_keys").write_text(keys)
    place.colab.tell(sshd=other.port)
    with pytest.raises(HostKeyChanged, match="Colab runtime m-s-train"):
        place.connect(host_key=None)
    place.colab.add_session("train", endpoint="m-s-new")  # the runtime was replaced
    place.connect(host_key=None, ask=yes).close()
    assert asked[1].text.startswith("Colab runtime m-s-new is not known yet.")


# --- a session over it ------------------------------------------------------------


@pytest.fixture
def mirrored(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    monkeypatch.setenv("COLAB_DEVSYNC_STATE_DIR", str(tmp_path / "devsync-state"))
    project = Project(place.remote, tmp_path / "project")
    project.configure(**place.fields())
    yield project
    project.close()


def test_a_mirror_heals_after_drops_and_freezes(
    place: Place, mirrored: Project, make_proxy: Callable[..., ChaosProxy]
) -> None:
    proxy = make_proxy(place.colab.port)
    place.colab.add_session("train", url=f"https://localhost:{proxy.port}")
    mirrored.write("a.py", "one")
    mirrored.sync()

    def thaw_when_noticed() -> None:
        proxy.freeze()
        mirrored.wait_was("lost")
        proxy.unfreeze()

    for number, harm in enumerate((proxy.reset_all, thaw_when_noticed)):
        mirrored.log.clear()
        harm()
        mirrored.wait_was("lost")
        mirrored.save("a.py", f"two {number}")
        mirrored.wait_link("online")
        mirrored.wait_arrived("a.py")
    mirrored.assert_same()


def test_a_taken_slot_is_waited_for(place: Place, mirrored: Project) -> None:
    """Another tool has the connection; when it leaves we come back by ourselves."""
    other = place.connect()
    with pytest.raises(SlotTaken):
        mirrored.connect()
    assert "somebody else holds" in str(mirrored.session.status().message)
    other.close()
    mirrored.wait_link("online")


def test_a_runtime_that_goes_is_never_replaced_by_itself(
    place: Place, mirrored: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cli(place, monkeypatch, "gone")
    mirrored.sync()
    place.colab.sessions.write_text("{}")
    place.colab.tell(tokens=[], drop=True)
    mirrored.wait_was("lost")

    def said() -> bool:
        return "no Colab session" in (mirrored.session.status().message or "")

    mirrored.wait(said, "the message says that the session is gone")
    assert not [call for call in place.colab.calls() if "new" in call]
    place.colab.tell(tokens=["right-token"])
    place.colab.add_session("train", endpoint="m-s-train")
    mirrored.wait_link("online")
