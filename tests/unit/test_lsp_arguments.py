"""What a command takes, and what it says when it gets something else."""

from __future__ import annotations

import pytest

from colab_devsync.lsp.arguments import BadArguments, Key, parse

KEYS = {
    "folder": Key(str),
    "check": Key(bool),
    "port": Key(int),
    "keep": Key(str, choices=("local", "remote")),
}


@pytest.mark.parametrize("arguments", [[], [None], [{}], [{}, "file:///a", ["b"]]])
def test_nothing_given_is_nothing_chosen(arguments: list[object]) -> None:
    assert parse("devsync.x", KEYS, arguments) == dict.fromkeys(KEYS)


def test_known_keys_are_kept_and_null_is_absence() -> None:
    given = {"folder": "/p", "check": False, "port": None}
    assert parse("devsync.x", KEYS, [given]) == {
        "folder": "/p",
        "check": False,
        "port": None,
        "keep": None,
    }


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"foldr": "/p"}, "has no key 'foldr'", "Did you mean 'folder'?"),
        ({"zzz": 1}, "has no key 'zzz'", "It takes: folder, check, port, keep."),
        ({"folder": 3}, "'folder' can't be 3", "Expected a string."),
        ({"check": "no"}, "'check' can't be 'no'", "Expected true or false."),
        ({"port": True}, "'port' can't be True", "Expected a number."),
        ({"keep": "both"}, "'keep' can't be 'both'", "one of: local, remote."),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(
    given: dict[str, object], message: str, hint: str
) -> None:
    with pytest.raises(BadArguments) as caught:
        parse("devsync.x", KEYS, [given])
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_required_key_is_asked_for() -> None:
    with pytest.raises(BadArguments, match="needs the key 'run'"):
        parse("devsync.x", {"run": Key(str, required=True)}, [{}])
