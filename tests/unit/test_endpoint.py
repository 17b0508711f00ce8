"""Connect strings, as people paste them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_devsync.core.config import LinkConfig
from colab_devsync.core.endpoint import apply_endpoint, leads_alike, split_relay
from colab_devsync.errors import ConfigError

LINK = LinkConfig(provider="sandbox", user="me", identity_file="~/key", host_key=None)
PIN = "SHA256:" + "ab+/" * 10 + "abc"


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("ssh -p 12345 root@0.tcp.example.com", "root", "0.tcp.example.com", 12345),
        ("  ssh root@203.0.113.7 -p 99\n", "root", "203.0.113.7", 99),
        ("ssh vm -p 99 python -p 7", "me", "vm", 99),
        ("ssh -p12345 203.0.113.7", "me", "203.0.113.7", 12345),
        ("ssh -l root -o StrictHostKeyChecking=no vm", "root", "vm", 22),
        ("ssh -A -N root@vm", "root", "vm", 22),
        ("root@203.0.113.7:2222", "root", "203.0.113.7", 2222),
        ("203.0.113.7", "me", "203.0.113.7", 22),
        ("devsync://root@203.0.113.7:2222", "root", "203.0.113.7", 2222),
        ("devsync://root@[2001:db8::1]:2222", "root", "2001:db8::1", 2222),
        ("tcp://0.tcp.example.com:12345", "me", "0.tcp.example.com", 12345),
        ("ssh://root@203.0.113.7:2222", "root", "203.0.113.7", 2222),
        ("root@[2001:db8::1]:2222", "root", "2001:db8::1", 2222),
        ("[2001:db8::1]", "me", "2001:db8::1", 22),
        ("ssh -NTp 99 root@vm", "root", "vm", 99),
        ("ssh -o User=root -o Port=99 vm", "root", "vm", 99),
    ],
)
def test_understood(text: str, user: str, host: str, port: int) -> None:
    found = apply_endpoint(LINK, text)
    assert (found.provider, found.user, found.host, found.port) == (
        "direct",
        user,
        host,
        port,
    )
    assert found.identity_file == "~/key"


@pytest.mark.parametrize("prefix", ["", "ssh-ed25519:"])
def test_a_connect_string_may_pin_the_host_key(prefix: str) -> None:
    found = apply_endpoint(LINK, f"devsync://root@203.0.113.7:22?hk={prefix}{PIN}")
    assert found.host_key == PIN


def test_a_fingerprint_that_was_percent_encoded() -> None:
    encoded = PIN.replace("+", "%2B").replace("/", "%2F").replace(":", "%3A")
    found = apply_endpoint(LINK, f"devsync://root@203.0.113.7?hk={encoded}")
    assert found.host_key == PIN


@pytest.mark.parametrize(
    "text",
    [
        f"devsync://root@localhost:10022?via=me@vps.example.com:22&hk={PIN}",
        f"devsync://root@localhost:10022?via=me%40vps.example.com%3A22&hk={PIN}",
    ],
)
def test_a_connect_string_through_a_relay(text: str) -> None:
    found = apply_endpoint(LINK, text)
    assert (found.provider, found.relay) == ("relay", "me@vps.example.com:22")
    assert (found.user, found.host, found.port) == ("root", "localhost", 10022)
    assert (found.host_key, found.identity_file) == (PIN, "~/key")


@pytest.mark.parametrize(
    "text",
    [
        "ssh -J me@vps.example.com -p 10022 root@localhost",
        "ssh -NTJ me@vps.example.com root@localhost -p 10022",
        "ssh -oProxyJump=me@vps.example.com -o 'Port 10022' root@localhost",
    ],
)
def test_an_ssh_line_with_a_jump_is_a_relay(text: str) -> None:
    found = apply_endpoint(LINK, text)
    assert (found.provider, found.relay) == ("relay", "me@vps.example.com")
    assert (found.user, found.host, found.port) == ("root", "localhost", 10022)


@pytest.mark.parametrize(
    ("relay", "parts"),
    [
        ("me@vps.example.com:2200", ("me", "vps.example.com", 2200)),
        ("vps.example.com", (None, "vps.example.com", 22)),
        ("me@[2001:db8::1]:22", ("me", "2001:db8::1", 22)),
        ("[2001:db8::1]", (None, "2001:db8::1", 22)),
    ],
)
def test_the_parts_of_a_relay(relay: str, parts: tuple[str | None, str, int]) -> None:
    assert split_relay(relay) == parts


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("devsync://root@localhost:10022?via=a@b@c", "relay"),
        ("ssh -J one,two root@localhost -p 10022", "relay"),
        ("devsync://root@vm?hk=SHA256:abc", "host key"),
        ("devsync://root@vm?hk=", "host key"),
    ],
)
def test_a_broken_part_is_named(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        apply_endpoint(LINK, text)
    assert caught.value.hint


def test_an_identity_in_the_line_wins() -> None:
    assert apply_endpoint(LINK, "ssh -i other root@vm").identity_file == "other"


@pytest.mark.parametrize(
    "text",
    [
        *("", "ssh", "ssh -p", "ssh -p x root@vm", "a b", "root@vm:0", "vm:99999"),
        *("'", "devsync://", "devsync://vm:99999", "root@", "-J", "[vm", "\0", "a/b"),
        *('tcp://"', "devsync:// vm", "https://vm", "[]", "root@[vm]:x"),
    ],
)
def test_not_understood(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_endpoint(LINK, text)
    assert caught.value.hint


def test_the_same_place_whoever_logs_in() -> None:
    there = LinkConfig(provider="direct", host="vm.example.com", port=22)
    assert leads_alike(there, replace(there, user="me", identity_file="k"))
    for other in ({"port": 23}, {"host": "b"}, {"provider": "ngrok"}, {"relay": "r"}):
        assert not leads_alike(there, replace(there, **other))  # type: ignore[arg-type]


@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    for line in (text, "ssh " + text, "devsync://" + text):
        try:
            found = apply_endpoint(LINK, line)
        except ConfigError:
            continue
        assert found.host
        assert 0 < (found.port or 22) < 65536
