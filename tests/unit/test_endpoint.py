"""Connect strings, as people paste them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_devsync.core.config import LinkConfig
from colab_devsync.core.endpoint import apply_endpoint
from colab_devsync.errors import ConfigError

LINK = LinkConfig(provider="sandbox", user="me", identity_file="~/key", host_key=None)


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


def test_a_connect_string_may_pin_the_host_key() -> None:
    found = apply_endpoint(LINK, "devsync://root@203.0.113.7:22?hk=SHA256:abc")
    assert found.host_key == "SHA256:abc"


def test_an_identity_in_the_line_wins() -> None:
    assert apply_endpoint(LINK, "ssh -i other root@vm").identity_file == "other"


@pytest.mark.parametrize(
    "text",
    [
        *("", "ssh", "ssh -p", "ssh -p x root@vm", "a b", "root@vm:0", "vm:99999"),
        *("'", "devsync://", "devsync://vm:99999", "root@"),
    ],
)
def test_not_understood(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_endpoint(LINK, text)
    assert caught.value.hint


@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    for line in (text, "ssh " + text, "devsync://" + text):
        try:
            found = apply_endpoint(LINK, line)
        except ConfigError:
            continue
        assert found.host
        assert 0 < (found.port or 22) < 65536
