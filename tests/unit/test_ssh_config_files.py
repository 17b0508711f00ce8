"""The files of `ssh-config`: our own blocks, and one line in the user's file."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from colab_devsync.core.ssh_access import SshAccess, alias_of
from colab_devsync.daemon.ssh_config import SshConfig, block, quoted
from colab_devsync.daemon.ssh_include import Include
from colab_devsync.errors import ConfigError, DevsyncError

CONFIGS = {
    "plain": b"Host other\n    HostName 203.0.113.7\n",
    "crlf": b"Host other\r\n    HostName 203.0.113.7\r\n",
    "no-newline": b"# mine\n\nHost other\n\tPort 22",
    "global-first": b"  ForwardAgent yes\n\n\nHost *\n  User ann\n",
    "one-line": b"Host other",
    "empty": b"",
    "not-utf8": b"# caf\xe9\nHost other\n",
}


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLAB_DEVSYNC_STATE_DIR", str(tmp_path / "state"))
    folder = tmp_path / ".ssh"
    folder.mkdir()
    return folder


# --- the user's file --------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_one_line_is_added_and_taken_out_again(ssh: Path, name: str) -> None:
    data = CONFIGS[name]
    include = Include(ssh)
    include.path.write_bytes(data)
    include.path.chmod(0o640)
    include.add()
    ending = b"\r\n" if name == "crlf" else b"\n"
    assert include.path.read_bytes() == os.fsencode(include.line) + ending + data
    assert include.backup.read_bytes() == data
    assert include.is_there()
    assert include.remove()
    assert include.path.read_bytes() == data
    assert list(ssh.iterdir()) == [include.path]
    if sys.platform != "win32":
        assert stat.S_IMODE(include.path.stat().st_mode) == 0o640


def test_a_file_that_we_made_goes_again(ssh: Path) -> None:
    include = Include(ssh)
    include.add()
    assert include.is_there()
    assert include.remove()
    assert list(ssh.iterdir()) == []
    assert not include.remove()


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_file_in_a_dotfiles_repository_stays_a_link(ssh: Path) -> None:
    dotfiles = ssh.parent / "dotfiles"
    dotfiles.mkdir()
    for data in (CONFIGS["plain"], b""):
        (dotfiles / "config").write_bytes(data)
        include = Include(ssh)
        include.path.unlink(missing_ok=True)
        include.path.symlink_to("../dotfiles/config")
        include.add()
        assert (dotfiles / "config").read_bytes().endswith(b"\n" + data)
        include.remove()
        assert os.readlink(include.path) == "../dotfiles/config"
        assert (dotfiles / "config").read_bytes() == data


def test_a_line_that_is_conditional_is_moved_to_the_top(ssh: Path) -> None:
    include = Include(ssh)
    line = b"include   ~/.ssh/colab-devsync.config\n"
    for scope in (b"Host other\n", b"\tmatch all\n", b"Host=other\n"):
        include.path.write_bytes(scope + line)
        assert not include.is_there()
        include.add()
        assert include.path.read_bytes() == os.fsencode(include.line) + b"\n" + scope


def test_a_line_that_the_user_moved_but_that_works_stays(ssh: Path) -> None:
    include = Include(ssh)
    data = b'# mine\n  INCLUDE "/home/ann b/.ssh/colab-devsync.config" \nHost other\n'
    include.path.write_bytes(data)
    include.add()
    assert include.path.read_bytes() == data


def test_other_lines_are_not_ours(ssh: Path) -> None:
    include = Include(ssh)
    data = b"# Include colab-devsync.config\nInclude colab-devsync.config.d\n"
    include.path.write_bytes(data)
    assert not include.is_there()
    assert not include.remove()
    assert include.path.read_bytes() == data


def test_a_file_that_cannot_be_read_is_said(ssh: Path) -> None:
    include = Include(ssh)
    include.path.mkdir()
    with pytest.raises(DevsyncError) as caught:
        include.add()
    assert include.line in caught.value.hint


# --- our file ---------------------------------------------------------------------


@pytest.fixture
def access(tmp_path: Path) -> SshAccess:
    project = tmp_path / "a project"
    project.mkdir()
    (project / ".colabremote.toml").write_text("")
    known_hosts = str(tmp_path / "known hosts")
    return SshAccess("colab-seg", str(project), None, 20022, "root", known_hosts)


def effective(config: Path, alias: str) -> dict[str, str]:
    """What ssh itself understands."""
    argv = ["ssh", "-F", str(config), "-G", alias]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


def test_ssh_understands_the_block(
    ssh: Path, access: SshAccess, tmp_path: Path
) -> None:
    config = SshConfig(ssh)
    key = str(tmp_path / "50% of my keys" / "id#1")
    assert config.install(replace(access, identity_file=key))
    (ssh / "config").write_text(
        "Host *\n  User other\n  StrictHostKeyChecking no\n"
        "  NoHostAuthenticationForLocalhost yes\n"
    )
    include = Include(ssh)
    include.add()
    found = effective(include.path, "colab-seg")
    assert (found["hostname"], found["port"]) == ("127.0.0.1", "20022")
    assert found["user"] == "root"
    assert found["hostkeyalias"] == "colab-seg"
    assert found["userknownhostsfile"].strip('"') == access.known_hosts
    assert found["identityfile"].replace("%%", "%").strip('"') == key
    assert found["stricthostkeychecking"] in ("true", "yes")
    assert found["nohostauthenticationforlocalhost"] == "no"


def test_without_a_named_key_ssh_tries_its_own(access: SshAccess) -> None:
    assert "Identit" not in block(access)


def test_blocks_are_replaced_and_removed(ssh: Path, access: SshAccess) -> None:
    config = SshConfig(ssh)
    profile = replace(access, alias="colab-seg-b", profile="b", port=20023)
    assert config.install(access)
    assert config.install(profile)
    assert not config.install(access)
    assert config.refresh(replace(access, alias="colab-new", port=20024))
    assert not config.refresh(replace(access, folder="/elsewhere"))
    text = config.path.read_text()
    assert [line for line in text.splitlines() if line.startswith("Host ")] == [
        "Host colab-new",
        "Host colab-seg-b",
    ]
    assert "20024" in text
    assert "20022" not in text
    assert config.remove(access.folder, None) == ("colab-seg-b",)
    assert config.remove(access.folder, "b") == ()
    assert not config.path.exists()
    assert not config.refresh(access)
    assert not config.path.exists()


def test_an_alias_is_not_taken_from_another_project(
    ssh: Path, access: SshAccess, tmp_path: Path
) -> None:
    config = SshConfig(ssh)
    config.install(access)
    twin = replace(access, folder=str(tmp_path))
    with pytest.raises(ConfigError, match="belongs to"):
        config.install(twin)
    (Path(access.folder) / ".colabremote.toml").unlink()
    assert config.install(twin)
    assert config.path.read_text().count("Host colab-seg\n") == 1


def test_a_damaged_block_is_written_anew(ssh: Path, access: SshAccess) -> None:
    config = SshConfig(ssh)
    config.path.write_text("# project {nonsense\nHost x\n# project {}\nHost y\n")
    assert config.install(access)
    text = config.path.read_text()
    assert text.count("Host ") == 1


def test_writers_at_the_same_time_lose_nothing(ssh: Path, access: SshAccess) -> None:
    def install(number: int) -> None:
        SshConfig(ssh).install(
            replace(access, alias=f"colab-p{number}", profile=f"p{number}")
        )

    threads = [threading.Thread(target=install, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert SshConfig(ssh).path.read_text().count("\nHost ") == 20


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path, ssh: Path) -> None:
    (tmp_path / "file").write_text("")
    access = SshAccess("colab-a", "/a", None, 1, "u", "/k")
    with pytest.raises(DevsyncError, match="file"):
        SshConfig(tmp_path / "file").install(access)


@pytest.mark.skipif(sys.platform == "win32", reason="backslashes separate there")
def test_paths_that_ssh_cannot_name_are_refused() -> None:
    assert quoted("/a/b") == "/a/b"
    assert quoted("/a b/50%") == '"/a b/50%%"'
    for path in ('/a"b', "/a\nb", "/a\\b"):
        with pytest.raises(ConfigError):
            quoted(path)


def test_the_names() -> None:
    assert alias_of("seg", None) == "colab-seg"
    assert alias_of("seg", "gpu2") == "colab-seg-gpu2"
