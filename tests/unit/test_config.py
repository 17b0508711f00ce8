"""`.colabremote.toml`: defaults, every kind of mistake at its place, profiles."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colab_devsync.core.config import (
    CONFIG_NAME,
    Config,
    ConfigProblem,
    InvalidConfig,
    check_config,
    formats,
    load_config,
)
from colab_devsync.core.config.formats import Format, parse_size
from colab_devsync.core.config.introspect import find_key, tables
from colab_devsync.errors import ConfigError

FULL = """\
name = "segmentation"
[link]
provider = "relay"
relay = "me@vps.example.com:22"
user = "root"
identity_file = "~/.ssh/id_ed25519"
host_key = "SHA256:uNiVztksCsDhcc0u9e8BrYXiVx4fUYE6QJfX2e6JPj0"
[remote]
root = "/content//segmentation/"
env = { WANDB_MODE = "offline" }
[sync]
exclude = ["data/", "*.ckpt"]
max_file_size = "1.5 GiB"
[run]
entry = "./train.py"
args = ["--epochs", "1"]
[[pull]]
remote = "checkpoints"
include = ["*.pt"]
every = 5
[[pull]]
remote = "/var/log"
local = "logs/vm"
[[forward]]
remote_port = 7860
[profiles.gpu2.link]
provider = "colab"
session = "gpu2"
[profiles.gpu2.remote]
env = { SEED = "1" }
[profiles.gpu2.run]
module = "pkg.train"
[[profiles.gpu2.pull]]
remote = "out"
"""


def load(text: str, profile: str | None = None) -> Config:
    return load_config(text, folder_name="my project", profile=profile)


def only_problem(text: str) -> ConfigProblem:
    (problem,) = check_config(text)
    return problem


# --- right ones -----------------------------------------------------------------------


def test_an_empty_file_has_every_default() -> None:
    config = load("")
    assert config.name == "my-project"
    assert config.remote.root == "/content/my-project"
    assert config.link.provider == "colab"
    assert config.link.port == 22
    assert config.sync.max_file_size == 100_000_000
    assert config.sync.mode == "mirror"
    assert config.pull == ()
    assert config.forward == ()
    assert config.profile is None


def test_values_arrive_in_their_types() -> None:
    config = load(FULL)
    assert config.link.port == 10022  # the relay's default
    assert config.remote.root == "/content/segmentation"
    assert config.remote.env == {"WANDB_MODE": "offline"}
    assert config.sync.exclude == ("data/", "*.ckpt")
    assert config.sync.max_file_size == 3 << 29
    assert config.run.entry == "train.py"
    assert [rule.name for rule in config.pull] == ["checkpoints", "logs/vm"]
    assert isinstance(config.pull[0].every, float)
    assert config.forward[0].name == "7860"
    assert config.link.identity_file == "~/.ssh/id_ed25519"


def test_a_profile_merges_tables_and_replaces_lists() -> None:
    config = load(FULL, profile="gpu2")
    assert config.profile == "gpu2"
    assert (config.link.provider, config.link.session) == ("colab", "gpu2")
    assert config.link.user == "root"
    assert config.remote.env == {"WANDB_MODE": "offline", "SEED": "1"}
    assert (config.run.entry, config.run.module) == (None, "pkg.train")
    assert config.run.args == ("--epochs", "1")
    assert [rule.remote for rule in config.pull] == ["out"]


def test_a_config_is_a_frozen_value() -> None:
    config = load(FULL)
    assert config == load(FULL)
    assert dataclasses.asdict(config)["link"]["user"] == "root"
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("segmentation", "segmentation"),
        ("My Project (2)", "My-Project-2"),
        (".hidden", "hidden"),
        ("..", "project"),
        ("проект", "project"),
        ("x" * 100, "x" * 64),
    ],
)
def test_the_folder_gives_a_usable_name(folder: str, name: str) -> None:
    assert load_config("", folder_name=folder).name == name


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (7, 7),
        ("7", 7),
        ("100MB", 100_000_000),
        ("1.5 GiB", 1_610_612_736),
        ("2k", 2000),
        ("0.5 kib", 512),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_sizes(text: int | str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("format", "right", "wrong"),
    [
        (
            formats.REMOTE_ROOT,
            ["/content/x", "/..a", "/a/b..", "/a b"],
            ["/", "//", "/.", "/..", "/a/..", "/a/../b", "a", "", "/a\\b", "/a\nb"],
        ),
        (
            formats.HOST,
            ["::1", "fe80::1%eth0", "vm", "a.b-c", "203.0.113.7"],
            ["-x", "vm:22", "", "a b", "[::1]"],
        ),
        (
            formats.RELAY,
            ["vps", "me@vps", "me@vps:22", "me@[::1]:22", "vps:65535"],
            ["me@vps:0", "vps:65536", "-o@vps", "@vps", "me@vps:"],
        ),
        (
            formats.PATTERN,
            ["a", "!a", "\\#a", "a\\\\", "a ", "data/", "*"],
            ["!", "/", "#a", "a\\", " ", "", "a\nb"],
        ),
    ],
)
def test_formats(format: Format, right: list[str], wrong: list[str]) -> None:
    assert [text for text in right if not format.accepts(text)] == []
    assert [text for text in wrong if format.accepts(text)] == []


# --- wrong ones -----------------------------------------------------------------------


def test_all_mistakes_are_listed_at_once_with_their_places() -> None:
    text = '[link]\nprovider = "colb"\nport = "22"\n\n[snc]\nmode = "mirror"\n'
    with pytest.raises(InvalidConfig) as caught:
        load_config(text, folder_name="x", source="a/.colabremote.toml")
    first, second, third = str(caught.value).splitlines()
    assert first == (
        'a/.colabremote.toml:2:12: link.provider: is the text "colb"; expected one of '
        '"colab", "relay", "ngrok", "direct", "command", "sandbox"; '
        'did you mean "colab"?'
    )
    assert second.startswith(
        'a/.colabremote.toml:3:8: link.port: is the text "22"; expected a whole number'
    )
    assert third.startswith("a/.colabremote.toml:5:2: snc: unknown key; expected ")
    assert third.endswith('did you mean "sync"?')
    assert caught.value.problems == check_config(text)
    assert caught.value.exit_code == ConfigError.exit_code
    assert caught.value.code == "ConfigError"
    assert caught.value.hint


# The mistake is marked by «…», which are taken out before the text is read.
MISTAKES = [
    ("«nam» = 'x'", "nam", "unknown key", "name"),
    ("name = «'a b'»", "name", "letters", None),
    ("name = «'..'»", "name", "letters", None),
    ("«entry» = 'a.py'", "entry", "unknown key", "run.entry"),
    ("link = «3»", "link", "a table: [link]", None),
    ("«[pull]»\nremote = 'a'", "pull", "[[pull]]", None),
    ("pull = [«1»]", "pull[0]", "[[pull]]", None),
    ("[link]\n«identity-file» = 'x'", "link.identity-file", "", "identity_file"),
    ("[link]\nprovider = «1»", "link.provider", "one of", None),
    ("[link]\nport = «true»\nprovider='direct'\nhost='h'", "link.port", "number", None),
    ("[link]\nprovider='relay'\nrelay='h'\nport = «0»", "link.port", "from 1", None),
    ("[link]\nprovider = «'direct'»", "link.host", "missing", None),
    ("[link]\nprovider = «'relay'»", "link.relay", "missing", None),
    ("[link]\nprovider = «'command'»", "link.proxy_command", "missing", None),
    (
        "[link]\nprovider = 'command'\nproxy_command = «[]»",
        "link.proxy_command",
        "empty",
        None,
    ),
    (
        "[link]\nprovider='command'\nproxy_command = «'nc %h'»",
        "link.proxy_command",
        "list",
        None,
    ),
    ("[link]\n«host» = 'h'\nport = 2", "link.host", "`provider` is missing", None),
    ("[link]\nprovider='direct'\nhost = «'h:22'»", "link.host", "without a port", None),
    ("[link]\nprovider='relay'\nrelay = «'a:99999'»", "link.relay", "vps", None),
    ("[link]\nhost_key = «'MD5:00'»", "link.host_key", "SHA256", None),
    (
        "[link]\nprovider='ngrok'\napi_key_env = «'A-B'»",
        "link.api_key_env",
        "environment",
        None,
    ),
    ("[link]\nprovider='sandbox'\nrtt_ms = «-1»", "link.rtt_ms", "from 0", None),
    ("[link]\nprovider='sandbox'\nrtt_ms = «inf»", "link.rtt_ms", "from 0", None),
    ("[remote]\nroot = «'content/x'»", "remote.root", "absolute", None),
    ("[remote]\nroot = «'/content/../etc'»", "remote.root", "absolute", None),
    ("[remote]\nroot = «'/'»", "remote.root", "absolute", None),
    ("[remote]\nenv = { A = «1» }", "remote.env.A", 'text, as in "1"', None),
    ("[remote.env]\n«'a b'» = 'x'", 'remote.env."a b"', "no usable name", None),
    ("[sync]\nmode = «'replicate'»", "sync.mode", "one of", "replica"),
    ("[sync]\nexclude = ['a', «3»]", "sync.exclude[1]", "text", None),
    ("[sync]\nexclude = [\n 'a',\n «'# b'»]", "sync.exclude[1]", "gitignore", None),
    ("[sync]\ninclude = [«''»]", "sync.include[0]", "gitignore", None),
    ("[sync]\ninclude = [«'data\\'»]", "sync.include[0]", "gitignore", None),
    ("[sync]\nmax_file_size = «'lots'»", "sync.max_file_size", "100MB", None),
    ("[sync]\nmax_file_size = «0»", "sync.max_file_size", "at least 1", None),
    ("[sync]\nmax_file_size = «1e3»", "sync.max_file_size", "a size", None),
    ("[sync]\nwatch = «'yes'»", "sync.watch", "true or false", None),
    ("[run]\nentry = 'a.py'\n«module» = 'b'", "run.module", "one of the two", None),
    ("[run]\nentry = «'../a.py'»", "run.entry", "relative", None),
    ("[run]\nentry = «'src\\a.py'»", "run.entry", 'with "/"', None),
    ("[run]\nmodule = «'pkg/train'»", "run.module", "dotted", None),
    ("[run]\nargs = «'--epochs'»", "run.args", "list", None),
    ("«[[pull]]»\nlocal = 'a'", "pull[0].remote", "missing", None),
    ("«[[pull]]»\nremote = '/a'", "pull[0].local", "absolute", None),
    (
        "[[pull]]\nremote = 'a'\n[[pull]]\nremote = 'b'\nlocal = «'A'»",
        "pull[1].local",
        "another folder",
        None,
    ),
    ("[[pull]]\nremote = 'a'\nevery = «0»", "pull[0].every", "from 1", None),
    ("[[pull]]\nremote = 'a'\nlocal = «'.'»", "pull[0].local", "`include`", None),
    ("[[pull]]\nremote = 'a'\nlocal = «'C:/x'»", "pull[0].local", "relative", None),
    ("[[forward]]\nremote_port = «0»", "forward[0].remote_port", "from 1", None),
    (
        "[[forward]]\nremote_port = 1\nlocal_port = «65536»",
        "forward[0].local_port",
        "to 65535",
        None,
    ),
    (
        "[[forward]]\nremote_port = 1\n«[[forward]]»\nremote_port = 1",
        "forward[1].name",
        "another name",
        None,
    ),
    (
        "[ssh]\nlocal_port = 5\n[[forward]]\nremote_port = 1\nlocal_port = «5»",
        "forward[0].local_port",
        "ssh.local_port",
        None,
    ),
    ("profiles = «3»", "profiles", "tables", None),
    ("[«profile».x.link]", "profile", "unknown key", "profiles"),
    ("[profiles.«'a b'».link]", 'profiles."a b"', "profile name", None),
    ("[profiles.x]\nlink = «3»", "profiles.x.link", "a table", None),
    ("[profiles.x.link]\n«sesion» = 'a'", "profiles.x.link.sesion", "", "session"),
    ("[profiles.x.link]\nprovider = «'direct'»", "profiles.x.link.host", "", None),
]


@pytest.mark.parametrize(("marked", "key", "said", "nearest"), MISTAKES)
def test_a_mistake(marked: str, key: str, said: str, nearest: str | None) -> None:
    start, end = marked.index("«"), marked.index("»") - 1
    text = marked.replace("«", "").replace("»", "")
    problem = only_problem(text)
    assert problem.key == key
    assert said in f"{problem.message}; {problem.expected}"
    assert problem.nearest == nearest
    lines = text.split("\n")
    offset = sum(len(line) + 1 for line in lines[: problem.line]) + problem.column
    assert (offset, problem.end_column - problem.column) == (start, end - start)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a = \n", 0, 4),
        ("[link]\nport = = 2\n", 1, 7),
        ("x = 'abc", 0, 8),
        ("a = 1\r\n\r\n[b\r\n", 2, 2),
        ("x = [1,\n", 1, 0),
    ],
)
def test_broken_toml_is_shown_where_it_breaks(
    text: str, line: int, column: int
) -> None:
    problem = only_problem(text)
    assert (problem.line, problem.column) == (line, column)
    assert problem.message.startswith("is no TOML: ")


@pytest.mark.parametrize("text", ["a=" + "[" * 9999 + "]" * 9999, "a=" + "9" * 9999])
def test_absurd_toml_is_a_problem_too(text: str) -> None:
    assert "cannot be read" in only_problem(text).message


# --- profiles -------------------------------------------------------------------------

HALF = "[link]\nprovider = 'direct'\n[profiles.a.link]\nhost = 'h'\n"


def test_a_profile_may_give_what_the_base_lacks() -> None:
    assert check_config(HALF) == ()
    assert load(HALF, profile="a").link.host == "h"
    with pytest.raises(InvalidConfig, match=r"2:12: link\.host: is missing") as caught:
        load(HALF)
    assert "--profile a" in caught.value.hint


def test_what_only_the_base_lacks_is_not_said_of_other_profiles() -> None:
    assert load(HALF + "[profiles.b.link]\nuser = 'me'\n", profile="a").profile == "a"
    with pytest.raises(InvalidConfig, match=r"link\.host: is missing"):
        load(HALF + "[profiles.b.link]\nuser = 'me'\n", profile="b")


def test_mistakes_of_a_profile_that_is_not_in_use() -> None:
    text = "[profiles.b.sync]\nmode = 'x'\n"
    with pytest.raises(InvalidConfig, match=r":2:8: profiles\.b\.sync\.mode: "):
        load(text)


def test_a_profile_that_clashes_with_the_base_is_named() -> None:
    text = (
        "[[forward]]\nremote_port = 1\nlocal_port = 5\n[profiles.b.ssh]\nlocal_port = 5"
    )
    problem = only_problem(text)
    assert (problem.line, problem.key) == (2, "forward[0].local_port")
    assert 'with profile "b"' in problem.message


def test_an_unknown_profile_names_the_known_ones_and_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r'"gpu3"; .*"gpu2"; did you mean "gpu2"\?'):
        load(FULL, profile="gpu3")
    text = "[profiles.laptop.link]\n[profiles.gpu2.link]\n"
    with pytest.raises(ConfigError, match=r'expected one of "gpu2", "laptop"') as told:
        load(text, profile="gpu-old")
    hint = "choose --profile gpu2 or laptop, or define [profiles.gpu-old]"
    assert told.value.hint == hint
    with pytest.raises(ConfigError, match=r'no profile "x"; .*none is defined') as told:
        load("", profile="x")
    assert told.value.hint == "choose no profile, or define [profiles.x]"


def test_a_file_that_is_no_toml_is_not_said_to_lack_a_profile() -> None:
    with pytest.raises(ConfigError, match="is no TOML") as told:
        load("[profiles.gpu2.link]\nuser = \n", profile="gpu2")
    assert "there is no profile" not in str(told.value)


# --- everything -----------------------------------------------------------------------


def test_every_key_is_explained_and_its_example_is_right() -> None:
    for table in tables().values():
        for key in table.keys.values():
            assert key.about.doc.endswith("."), key.path
            assert re.fullmatch(r"[^\n]+", key.about.doc)
            assert find_key(key.path) is key
            assert key.default_text or key.required or key.default is None, key.path
            header = f"[[{table.name}]]" if table.repeated else f"[{table.name}]"
            others = {"pull": "remote", "forward": "remote_port"}
            text = f"{header if table.name else ''}\n{key.name} = {key.about.example}\n"
            if table.name in others and key.name != others[table.name]:
                needed = table.keys[others[table.name]]
                text += f"{needed.name} = {needed.about.example}\n"
            if table.name == "link" and key.about.providers:
                text += f'provider = "{key.about.providers[0]}"\n'
                missing = "link.host" if key.name == "port" else None
                text += 'host = "h"\n' if missing else ""
            assert check_config(text) == (), key.path


WORDS = st.sampled_from(
    [
        *(name for table in tables().values() for name in [table.name, *table.keys]),
        *("profiles", "x", "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", '"'),
        *("'a'", '"b"', "1", "-1", "true", "nan", "#", "'''", "[]", "{}", "/", "é"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=30))
def test_no_text_makes_the_check_fail(words: list[str]) -> None:
    text = " ".join(words)
    problems = check_config(text)
    lines = text.split("\n")
    for problem in problems:
        assert problem.column <= len(lines[problem.line])
        assert problem.end_column <= len(lines[problem.end_line])
    if not problems:
        assert load(text).name


KEYS = st.sampled_from([key for table in tables().values() for key in table.keys])
VALUES = st.recursive(
    st.sampled_from(["1", "-1", "0.5", "nan", "true", "'a'", "'/a'", "'direct'", "''"]),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda items: f"[{', '.join(items)}]")
        | inner.map(lambda item: f"{{ a = {item} }}")
    ),
    max_leaves=3,
)
HEADERS = st.sampled_from(
    [
        *(f"[{name}]" for name in tables() if name),
        *(f"[profiles.p.{name}]" for name in tables() if name),
        *("[[pull]]", "[[forward]]", "[[profiles.p.pull]]", "[profiles]"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(HEADERS | st.tuples(KEYS, VALUES).map(" = ".join), min_size=1, max_size=12)
)
def test_any_values_under_any_keys_are_judged(lines: list[str]) -> None:
    text = "\n".join(lines)
    problems = check_config(text)
    assert all(problem.text(CONFIG_NAME) for problem in problems)
    if not problems:
        profile = "p" if "profiles.p" in text else None
        assert load(text, profile).remote.root.startswith("/")
