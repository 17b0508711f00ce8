"""A real Neovim with the files that `setup neovim` writes, and a real sshd."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.runs_there import ended_afterwards
from tests.support.dap import DapClient
from tests.support.editors import DRIVERS, Headless, neovim
from tests.support.remotes import Remote
from tests.support.sshd import Sshd
from tests.support.stdio_server import StdioServer
from tests.support.vscode import initialize_params

pytestmark = [pytest.mark.openssh, pytest.mark.timeout(300)]

MIRRORED = {"folder", "path", "bytes", "ms"}  # the keys of that notification

TRAIN = """\
print("one")


def fail():
    raise ValueError("from the VM")


fail()
"""


@pytest.fixture
def here(tmp_path: Path, place: Place, remote: Remote) -> Iterator[Path]:
    folder = tmp_path / "seg (1)+é"  # Neovim escapes little of it
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    config = write_config(folder, remote)
    config.write_text(f'{config.read_text()}python = "{sys.executable}"\n')
    place.env["XDG_CONFIG_HOME"] = str(place.home / "config")
    done = place.run("setup", "neovim", "--yes", cwd=folder)
    assert done.returncode == 0, done.stderr
    with ended_afterwards(remote):
        yield folder


def start(place: Place, here: Path, remote: Remote, steps: str, **env: str) -> Headless:
    xdg = {
        f"XDG_{name}_HOME": str(place.home / name.lower())
        for name in ("DATA", "STATE", "CACHE")
    }
    environment = {**place.env, **xdg, **env, "STEPS": steps, "FAR": str(remote.root)}
    driver = str(DRIVERS / "neovim.lua")
    argv = [neovim(), "--headless", "-c", f"luafile {driver}", "train.py"]
    return Headless(argv, environment, here, here.parent / "neovim.jsonl")


def test_saving_running_and_being_told_what_is_wrong(
    place: Place, here: Path, remote: Remote
) -> None:
    steps = "online,save,run,traceback,status,config"
    with start(place, here, remote, steps) as editor:
        found = editor.finish()
    assert found["online"] == {"link": "online", "folder": str(here)}
    assert found["save"]["mirrored"].count("train.py") == 1
    assert {"run", "resolve", "runs"} <= set(found["commands"])
    # Without its line end, which Python writes for itself: stderr may come between.
    assert "from Neovim" in found["run"]
    assert " is online" in found["status"]
    (failure,) = found["traceback"]
    assert failure["line"] == 5
    assert "ValueError: from the VM" in failure["message"]
    assert [one["code"] for one in found["config"]] == ["snyc"]


def test_the_configuration_for_nvim_dap_stops_at_a_breakpoint(
    place: Place, here: Path, remote: Remote
) -> None:
    with start(place, here, remote, "dap,online,debug") as editor:
        found = editor.finish()
    program = str(here / "train.py")
    attached = found["debug"]
    assert (attached["type"], attached["request"]) == ("colab-devsync", "attach")
    with DapClient(attached) as client:
        assert stops(client, program) == (program, 5, "fail")

    adapter: dict[str, Any] = found["dap"]["adapter"]
    assert adapter["type"] == "executable"
    argv = [adapter["command"], *adapter["args"]]
    launched = {**found["dap"]["configuration"], "program": program, "cwd": str(here)}
    with StdioServer(argv, place.env, Path("/")) as server:
        launched["connect"] = {"host": "127.0.0.1", "port": server.port}
        with DapClient(launched) as client:
            assert stops(client, program) == (program, 5, "fail")


def stops(client: DapClient, program: str) -> tuple[str, int, str]:
    client.attach({program: [5]})
    stop = client.wait_stop()
    client.disconnect(terminate=True)
    return stop.path, stop.line, stop.function


def test_two_editors_share_one_connection_and_each_save_goes_out_once(
    place: Place, here: Path, remote: Remote, make_sshd: Callable[..., Sshd]
) -> None:
    sshd = make_sshd()  # of its own, so that its log counts
    write_config(
        here,
        remote,
        port=sshd.port,
        identity_file=str(sshd.identity_file),
        host_key=sshd.fingerprint,
    )
    with place.editor() as vscode:
        vscode.request("initialize", initialize_params(here))
        vscode.notify("initialized", {})
        vscode.wait_for("colabDevsync/status", lambda s: s["link"] == "online")
        vscode.wait_for("$/progress", lambda p: p["value"]["kind"] == "end")
        heard = len(vscode.said)

        steps = "online,save,other"
        with start(place, here, remote, steps, OTHER="model.py") as editor:
            vscode.wait_for(
                "colabDevsync/mirrored", lambda m: m["path"] == "train.py", start=heard
            )
            vscode.save(here / "model.py", "size = 1\n")
            vscode.wait_for("colabDevsync/mirrored", lambda m: m["path"] == "model.py")
            found = editor.finish()
        told = [one["params"] for one in vscode.said[heard:]]
        mirrored = [one["path"] for one in told if set(one) == MIRRORED]
        daemon = vscode.request("colabDevsync/daemon", {})
        status = vscode.command("status")

    assert sorted(mirrored) == sorted(found["other"]["mirrored"])
    assert sorted(mirrored) == ["model.py", "train.py"]
    assert (remote.root / "model.py").read_text() == "size = 1\n"
    assert [one["folder"] for one in daemon["projects"]] == [str(here)]
    assert len(place.daemon_pids()) == 1
    assert sshd.log().count("Accepted publickey") == 1
    other = found["other"]["status"]
    for key in ("folder", "link", "name", "conflicts"):
        assert other[key] == status[key], key
