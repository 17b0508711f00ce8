"""The configuration that `init` writes: valid, commented, never over another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_devsync.core.config import load_config
from colab_devsync.daemon.scaffold import PROVIDERS, quote, render, write_new
from colab_devsync.errors import ConfigError

NEEDED = {
    "host": "203.0.113.7",
    "relay": "me@vps.example.com:22",
    "proxy_command": "tailscale nc 'the vm' 22",
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_provider_gives_a_valid_file(provider: str) -> None:
    config = load_config(render({"provider": provider, **NEEDED}), folder_name="demo")
    assert config.link.provider == provider
    assert config.name == "demo"


def test_what_was_chosen_is_in_it() -> None:
    chosen = {
        "provider": "direct",
        "name": "segmentation",
        "host": "vm.example.com",
        "port": 2222,
        "user": "me",
        "identity_file": "~/.ssh/colab",
        "remote_root": "/content/here",
    }
    config = load_config(render(chosen), folder_name="demo")
    assert config.name == "segmentation"
    assert (config.link.host, config.link.port) == ("vm.example.com", 2222)
    assert (config.link.user, config.link.identity_file) == ("me", "~/.ssh/colab")
    assert config.remote.root == "/content/here"


def test_every_commented_line_is_valid_as_well() -> None:
    text = render({"provider": "direct", "host": "203.0.113.7"})
    lines = [
        line[2:] if line.startswith("# ") and " = " in line else line
        for line in text.splitlines()
        if '"..."' not in line and "SHA256:..." not in line
    ]
    assert load_config("\n".join(lines), folder_name="demo").run.entry == "train.py"


def test_what_a_provider_needs_is_asked_for_and_kept() -> None:
    link = load_config(render({"provider": "relay", **NEEDED}), folder_name="x").link
    assert (link.relay, link.port) == ("me@vps.example.com:22", 10022)
    link = load_config(render({"provider": "command", **NEEDED}), folder_name="x").link
    assert link.proxy_command == ("tailscale", "nc", "the vm", "22")
    for provider, key in (("relay", "relay"), ("command", "command")):
        with pytest.raises(ConfigError, match=f"needs a {key}"):
            render({"provider": provider})
    with pytest.raises(ConfigError, match="not understood"):
        render({"provider": "command", "proxy_command": "it's"})


def test_a_choice_that_makes_no_valid_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"link\.relay"):
        write_new(tmp_path, {"provider": "relay", "relay": "two words"})
    assert list(tmp_path.iterdir()) == []


def test_direct_needs_a_host_and_unknown_providers_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs a host"):
        render({"provider": "direct"})
    with pytest.raises(ConfigError, match="no link provider 'teleport'"):
        render({"provider": "teleport"})


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / ".colabremote.toml"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        write_new(tmp_path, {"provider": "sandbox"})
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot write"):
        write_new(tmp_path / "missing", {"provider": "sandbox"})


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
def test_any_text_survives_quoting(text: str) -> None:
    import tomli

    assert tomli.loads(f"x = {quote(text)}")["x"] == text


@pytest.mark.parametrize(
    ("provider", "key"),
    [("sandbox", "host"), ("sandbox", "user"), ("colab", "port"), ("direct", "relay")],
)
def test_what_a_provider_has_no_use_for_is_not_dropped_silently(
    tmp_path: Path, provider: str, key: str
) -> None:
    chosen = {"provider": provider, "host": None, key: "x"}
    with pytest.raises(ConfigError, match=f"no use for `{key}`"):
        write_new(tmp_path, chosen)
    assert list(tmp_path.iterdir()) == []
