"""The notebook executed by a real kernel; the real CLI uses the line it shows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.e2e.place import Place
from tests.support.relay import Relay
from tests.support.vm import TIMEOUT_S, Vm, connect_string

# Colab's own module, as far as the notebook uses it: secrets come from a file.
USERDATA = """\
import json, os


class SecretNotFoundError(Exception):
    pass


def get(key):
    with open(os.path.join(os.environ["HOME"], "secrets.json")) as file:
        secrets = json.load(file)
    if key not in secrets:
        raise SecretNotFoundError(f"Secret {key} does not exist.")
    return secrets[key]
"""


@pytest.fixture
def colab(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> Vm:
    """`vm` with a `google.colab` module; kernels that start see its home."""
    package = vm.home / "site" / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "userdata.py").write_text(USERDATA)
    (vm.home / "secrets.json").write_text("{}")
    monkeypatch.setenv("HOME", str(vm.home))
    monkeypatch.setenv("PYTHONPATH", str(vm.home / "site"))
    monkeypatch.setenv("IPYTHONDIR", str(vm.home / "ipython"))
    monkeypatch.setenv("CUDA_TEST", "from the kernel")
    return vm


def written(place: Place, folder: Path, link: str, *options: str) -> Path:
    folder.mkdir()
    (folder / ".colabremote.toml").write_text(f'name = "seg"\n[link]\n{link}\n')
    done = place.run("notebook", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "colab-devsync.ipynb"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def executed(path: Path, home: Path) -> list[str]:
    """The printed output of each code cell."""
    book = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        book, timeout=int(TIMEOUT_S), resources={"metadata": {"path": str(home)}}
    )
    client.execute()
    cells = [one for one in book.cells if one.cell_type == "code"]
    return [
        "".join(out.get("text", "") for out in cell.outputs if out.name == "stdout")
        for cell in cells
    ]


@pytest.mark.filterwarnings("default")  # Jupyter's own
def test_run_all_and_connect_with_the_line_it_shows(
    colab: Vm, place: Place, tmp_path: Path
) -> None:
    identity = f"identity_file = {json.dumps(str(colab.key))}"
    link = f'provider = "direct"\nhost = "127.0.0.1"\nport = {colab.port}\n{identity}'
    root = f'[remote]\nroot = "{tmp_path / "content"}"'
    book = written(place, tmp_path / "seg", f"{link}\n{root}")
    change(book, "sshd_port = 2222", f"sshd_port = {colab.port}")
    first = executed(book, colab.home)
    pid = colab.pid("sshd")
    line = connect_string(first[-1])
    done = place.run("connect", line, cwd=tmp_path / "seg")
    assert done.returncode == 0, done.stderr
    command = ("exec", "--", "sh", "-c", "echo $CUDA_TEST")
    assert place.run(*command, cwd=tmp_path / "seg").stdout == b"from the kernel\n"
    again = executed(book, colab.home)
    assert connect_string(again[-1]) == line
    assert colab.pid("sshd") == pid


@pytest.mark.filterwarnings("default")
def test_a_relays_key_comes_from_colabs_secrets(
    colab: Vm, place: Place, tmp_path: Path
) -> None:
    with Relay(tmp_path / "relay") as relay:
        secrets = {"DEVSYNC_RELAY_KEY": relay.vm_key.read_text()}
        (colab.home / "secrets.json").write_text(json.dumps(secrets))
        link = f'provider = "relay"\nrelay = "{relay.login}"\nport = {relay.port}'
        options = ("--public-key", str(colab.key.with_suffix(".pub")))
        options += ("--relay-host-key", relay.sshd.fingerprint)
        options += ("--relay-user", relay.sshd.user)
        book = written(place, tmp_path / "seg", link, *options)
        change(book, "sshd_port = 2222", f"sshd_port = {colab.port}")
        shown = executed(book, colab.home)
        assert f"via={relay.login}" in connect_string(shown[-1])
        assert colab.ssh("echo", "in", options=(relay.proxy(),)).stdout == "in\n"
        assert os.stat(colab.folder / "relay_key").st_mode & 0o077 == 0
        colab.run("--stop")


@pytest.mark.filterwarnings("default")
def test_for_colab_it_opens_nothing(colab: Vm, place: Place, tmp_path: Path) -> None:
    book = written(place, tmp_path / "seg", 'provider = "colab"')
    shown = executed(book, colab.home)
    assert "none needed: Google's own SSH endpoint" in shown[-1]
    assert "gpu" in shown[-1]
    assert not (colab.folder / "sshd_config").exists()


@pytest.mark.filterwarnings("default")
def test_a_missing_secret_stops_it_at_that_cell(
    colab: Vm, place: Place, tmp_path: Path
) -> None:
    from nbclient.exceptions import CellExecutionError

    options = ("--public-key", str(colab.key.with_suffix(".pub")))
    book = written(place, tmp_path / "seg", 'provider = "ngrok"', *options)
    change(book, "sshd_port = 2222", f"sshd_port = {colab.port}")
    with pytest.raises(CellExecutionError, match="NGROK_AUTHTOKEN"):
        executed(book, colab.home)
