"""`notebook` and `devsync.notebook`: what is written where, and never over a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.place import Place

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + 11 * "Fake" + " me@laptop"
ASK = "window/showMessageRequest"
RELAY = '[link]\nprovider = "relay"\nrelay = "me@vps.example.com:22"\n'


@pytest.fixture
def project(place: Place) -> Path:
    folder = place.home / "seg"
    folder.mkdir()
    (folder / ".colabremote.toml").write_text(RELAY)
    (place.home / ".ssh").mkdir()
    (place.home / ".ssh" / "id_ed25519.pub").write_text(KEY + "\n")
    return folder


def test_the_default_is_a_notebook_in_the_project(place: Place, project: Path) -> None:
    inner = project / "pkg"
    inner.mkdir()
    done = place.run("notebook", cwd=inner)
    assert done.returncode == 0, done.stderr
    path = project / "colab-devsync.ipynb"
    assert done.stdout.decode() == f"Wrote {path}.\n"
    assert KEY in path.read_text()
    assert b"relay's host key is not known here yet" in done.stderr
    assert not place.runtime.exists(), "no daemon for a file"


def test_output_is_relative_to_where_it_was_asked_for(
    place: Place, project: Path
) -> None:
    done = place.run(
        "--project", str(project), "--json", "notebook", "-o", "x.ipynb", cwd=place.home
    )
    body = json.loads(done.stdout)
    assert body["path"] == str(place.home / "x.ipynb")
    assert body["changed"] is True


def test_another_files_bytes_are_never_lost(place: Place, project: Path) -> None:
    path = project / "mine.ipynb"
    path.write_text("precious")
    done = place.run("notebook", "-o", "mine.ipynb", cwd=project)
    assert done.returncode == 2
    assert b"exists already and differs" in done.stderr
    assert b"--force" in done.stderr
    assert path.read_text() == "precious"
    done = place.run("notebook", "-o", "mine.ipynb", "--force", cwd=project)
    assert done.returncode == 0
    assert json.loads(path.read_text())["nbformat"] == 4
    again = place.run("notebook", "-o", "mine.ipynb", cwd=project)
    assert (again.returncode, again.stdout) == (0, f"Unchanged: {path}.\n".encode())
    assert [one.name for one in project.iterdir() if ".new-" in one.name] == []


def test_a_missing_folder_is_named(place: Place, project: Path) -> None:
    done = place.run("notebook", "-o", "none/x.ipynb", cwd=project)
    assert done.returncode == 2
    assert b"No such file or directory" in done.stderr


def test_without_a_key_it_says_how_to_get_one(place: Place, project: Path) -> None:
    (place.home / ".ssh" / "id_ed25519.pub").unlink()
    done = place.run("notebook", "--relay-host-key", "SHA256:" + 43 * "A", cwd=project)
    assert done.returncode == 0
    assert b"No public key of yours was found" in done.stderr
    assert b"host key is not known" not in done.stderr


def test_a_private_key_is_not_taken_for_a_public_one(
    place: Place, project: Path
) -> None:
    wrong = place.home / ".ssh" / "id_ed25519"
    wrong.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n")
    done = place.run("notebook", "--public-key", str(wrong), cwd=project)
    assert done.returncode == 2
    assert b"is no public key" in done.stderr


def test_what_is_given_as_a_key_must_be_one(place: Place, project: Path) -> None:
    long = "ssh-rsa AAAAB3NzaC1yc2E" + 90 * "Fake" + "== me@laptop"
    done = place.run("notebook", "--public-key", long, cwd=project)
    assert done.returncode == 0, done.stderr
    assert long in (project / "colab-devsync.ipynb").read_text()
    for wrong in ("no such.pub", "ssh-ed25519 no/such file"):
        done = place.run("notebook", "--public-key", wrong, cwd=project)
        assert done.returncode == 2
        assert b"is no public key" in done.stderr


def test_a_host_key_that_is_none_is_refused(place: Place, project: Path) -> None:
    for option in (["notebook", "--relay-host-key"], ["relay", "check", "--host-key"]):
        place.run("relay", "key", cwd=project)  # `check` needs one
        done = place.run(*option, "SHA256:short", cwd=project)
        assert done.returncode == 2, option
        assert f"{option[-1]} is no fingerprint" in done.stderr.decode()
    assert not (project / "colab-devsync.ipynb").exists()


def test_the_configuration_is_read_as_by_all_others(
    place: Place, project: Path
) -> None:
    (project / "keys").mkdir()
    (project / "keys" / "vm.pub").write_text(KEY.replace("laptop", "project"))
    text = f'\ufeff{RELAY}identity_file = "keys/vm"\n'
    (project / ".colabremote.toml").write_text(text, encoding="utf-8")
    done = place.run("--project", str(project), "notebook", cwd=place.home)
    assert done.returncode == 0, done.stderr
    assert "me@project" in (project / "colab-devsync.ipynb").read_text()


def test_colab_itself_needs_none_and_says_so(place: Place, project: Path) -> None:
    (project / ".colabremote.toml").write_text("")
    done = place.run("notebook", cwd=project)
    assert done.returncode == 0
    assert b"needs no notebook" in done.stderr


def test_editors_write_it_and_are_asked_before_a_file_is_lost(
    place: Place, project: Path
) -> None:
    arguments = {"folder": str(project), "output": "vm.ipynb"}
    path = project / "vm.ipynb"
    with place.editor(answers={ASK: lambda _: {"title": "Keep it"}}) as editor:
        editor.initialize(project, options={"autoConnect": False})
        done = editor.job("notebook", arguments)
        assert (done["state"], done["result"]["path"]) == ("done", str(path))
        assert json.loads(path.read_text())["nbformat"] == 4
        path.write_text("precious")
        failed = editor.job("notebook", arguments)
        assert "nothing was written" in failed["error"]["message"]
        assert "exists and differs" in editor.wait_asked(ASK)["message"]
        assert path.read_text() == "precious"
        editor.answers[ASK] = lambda _: {"title": "Overwrite"}
        assert editor.job("notebook", arguments)["result"]["changed"] is True
    assert json.loads(path.read_text())["nbformat"] == 4
