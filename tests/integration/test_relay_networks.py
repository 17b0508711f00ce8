"""A laptop and a VM that cannot reach each other, and a relay that both can.

The VM runs the notebook's own script; nothing but OpenSSH is on the relay.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest

from colab_devsync.core.debugging import DebugRequest
from colab_devsync.engine.programs.process import ExecSpec
from colab_devsync.errors import HostKeyChanged
from tests.support.dap import DapClient
from tests.support.namespaces import TwoNetworks, World
from tests.support.project import CONFIG, Project
from tests.support.relay import Relay
from tests.support.remotes import Login, Remote
from tests.support.vm import Vm, connect_string

# What is waited for is the VM's own supervisor, which tries again after 1, 2, 4 s.
HEALED_S = 40.0
REACH = (
    "import socket, sys\nsocket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5)"
)


@dataclass
class Place:
    """Relay and VM up, and the line that the notebook's last cell shows."""

    world: World
    relay: Relay
    vm: Vm
    shown: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        world = stack.enter_context(TwoNetworks())
        folder = tmp_path_factory.mktemp("relay")
        relay = stack.enter_context(
            Relay(folder, address=world.relay_for_laptop, under=world.in_relay)
        )
        vm = stack.enter_context(Vm())
        vm.under = world.in_vm
        public = relay.laptop_key.with_suffix(".pub").read_text().strip()
        done = vm.run(
            *relay.options(),
            *("--relay", f"{world.relay_for_vm}:{relay.sshd.port}"),
            *("--public-key", public, "--sshd-port", str(vm.port)),
            DEVSYNC_RELAY_KEY=relay.vm_key.read_text(),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield Place(world, relay, vm, connect_string(done.stdout))


@pytest.fixture
def far(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """A project whose VM is known from the pasted line alone."""
    monkeypatch.setenv("COLAB_DEVSYNC_STATE_DIR", str(tmp_path / "devsync-state"))
    key = place.relay.laptop_key
    login = Login(1, place.relay.sshd.user, key, "SHA256:" + "A" * 43)
    root = place.vm.home / tmp_path.name
    remote = Remote("sshd", login, root, tmp_path / "state")
    project = Project(remote, tmp_path / "project")
    project.answer = lambda question: "yes"
    yield project
    project.close()
    shutil.rmtree(root, ignore_errors=True)


def reaches(prefix: tuple[str, ...], address: str, port: int) -> bool:
    argv = [*prefix, "python3", "-c", REACH, address, str(port)]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def test_there_is_no_other_way(place: Place) -> None:
    world, relay = place.world, place.relay.sshd.port
    assert reaches((), world.relay_for_laptop, relay)
    assert reaches(world.in_vm, world.relay_for_vm, relay)
    assert reaches(world.in_vm, "127.0.0.1", place.vm.port)
    assert not reaches((), world.vm, place.vm.port)
    assert not reaches((), "127.0.0.1", place.vm.port)
    assert not reaches((), world.relay_for_laptop, place.relay.port)  # no public port
    with socket.create_server(("0.0.0.0", 0)) as laptop:
        assert not reaches(world.in_vm, world.laptop, laptop.getsockname()[1])
        assert not reaches(world.in_vm, world.relay_for_laptop, relay)


def test_mirror_and_programs_through_the_relay(place: Place, far: Project) -> None:
    far.write("pkg/a.py", "print('hello from the VM')")
    far.write("big.bin", os.urandom(3_000_000))
    status = far.session.connect(place.shown).result(HEALED_S)
    assert status.target.startswith("root@localhost:")
    (asked,) = far.asked  # the line vouches for the VM, a person for the relay
    assert asked.text.startswith(f"{place.world.relay_for_laptop}:")
    far.sync()
    far.assert_same()
    output: list[bytes] = []
    spec = ExecSpec(["python3", "pkg/a.py"])
    process = far.session.exec(spec, lambda _, data: output.append(data)).result(30)
    assert process.exit_code.result(30) == 0
    assert b"".join(output) == b"hello from the VM\n"


def test_a_breakpoint_through_the_relay(place: Place, far: Project) -> None:
    far.write(
        "train.py", "total = 0\nfor n in range(5):\n    total += n\nprint(total)\n"
    )
    config = far.root / CONFIG
    here = f'[remote]\npython = "{sys.executable}"'
    config.write_text(config.read_text().replace("[remote]", here))
    far.session.connect(place.shown).result(HEALED_S)
    asked = DebugRequest(file="train.py")
    target = far.session.debugger.start(asked).result(HEALED_S)
    with DapClient(target.configuration(str(far.root))) as client:
        client.attach({str(far.root / "train.py"): [3]})
        stop = client.wait_stop()
        assert (Path(stop.path).name, stop.line) == ("train.py", 3)
        assert client.locals(stop)["n"] == "0"
        client.disconnect(terminate=True)


def test_a_false_vm_is_refused(place: Place, far: Project) -> None:
    head, _, pin = unquote(place.shown).partition("SHA256:")
    false = head + "SHA256:" + pin[1:43] + pin[0]
    with pytest.raises(HostKeyChanged, match="nothing was sent"):
        far.session.connect(false).result(HEALED_S)


def test_the_relay_restarts_and_the_vm_tunnel_freezes(
    place: Place, far: Project
) -> None:
    far.write("a.py", "one")
    far.session.connect(place.shown).result(HEALED_S)
    far.sync()

    def restart() -> None:
        place.relay.sshd.close()
        place.relay.sshd.start()

    def freeze() -> None:
        os.kill(place.vm.pid("ssh"), signal.SIGSTOP)

    for number, harm in enumerate((restart, freeze)):
        far.log.clear()
        harm()
        far.wait_was("lost", HEALED_S)
        far.save("a.py", f"saved while the line was down {number}")
        far.wait_link("online", timeout_s=HEALED_S)
        far.wait_arrived("a.py", HEALED_S)
    far.assert_same()
    assert len(far.asked) == 1
