"""Which host key is trusted, and how pins are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from colab_devsync.core.events import Question
from colab_devsync.errors import ConfigError, HostKeyChanged, HostKeyUnknown
from colab_devsync.link.hostkeys import HostKey, Pins, Trust, judge

A = HostKey("ssh-ed25519", "SHA256:AAAA")
B = HostKey("ssh-ed25519", "SHA256:BBBB")
A_RSA = HostKey("rsa-sha2-512", "SHA256:AAAA")


@pytest.mark.parametrize(
    ("offered", "pinned", "configured", "verdict"),
    [
        (A, None, None, "unknown"),
        (A, A, None, "trusted"),
        (B, A, None, "changed"),
        (A_RSA, A, None, "changed"),
        (A, None, "SHA256:AAAA", "trusted"),
        (A, None, " SHA256:AAAA= ", "trusted"),
        (A, B, "SHA256:AAAA", "trusted"),  # the configuration wins over a pin
        (A, A, "SHA256:BBBB", "contradicts-config"),
        (A, None, "SHA256:BBBB", "contradicts-config"),
        (A, None, "sha256:aaaa", "contradicts-config"),  # base64 has case
        (A, None, "", "contradicts-config"),
    ],
)
def test_the_decision(
    offered: HostKey, pinned: HostKey | None, configured: str | None, verdict: str
) -> None:
    assert judge(offered, pinned, configured) == verdict


class Answers:
    """An `ask` that remembers what it was asked."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.questions: list[Question] = []

    def __call__(self, question: Question) -> str:
        self.questions.append(question)
        return self.answer


@pytest.fixture
def pins(tmp_path: Path) -> Pins:
    return Pins(tmp_path / "state" / "host_keys.json")


def trust(
    pins: Pins, configured: str | None = None, profile: str | None = None
) -> Trust:
    return Trust(pins, profile, "203.0.113.7:22", configured)


def test_an_accepted_key_is_asked_about_once(pins: Pins) -> None:
    ask = Answers("yes")
    trust(pins).check(A, ask)
    trust(pins).check(A, ask)
    (question,) = ask.questions
    assert question.kind == "host-key"
    assert question.choices == ("yes", "no")
    assert question.safe == "no"
    assert "203.0.113.7:22" in question.text
    assert A.fingerprint in question.text


@pytest.mark.parametrize("answer", ["no", "", "Yes", "whatever"])
def test_anything_but_yes_pins_nothing(pins: Pins, answer: str) -> None:
    with pytest.raises(HostKeyUnknown, match="SHA256:AAAA") as caught:
        trust(pins).check(A, Answers(answer))
    assert caught.value.hint
    assert pins.get(None, "203.0.113.7:22") is None


def test_a_changed_key_is_refused_without_a_question(pins: Pins) -> None:
    trust(pins).check(A, Answers("yes"))
    ask = Answers("yes")
    with pytest.raises(HostKeyChanged) as caught:
        trust(pins).check(B, ask)
    assert not ask.questions
    assert A.fingerprint in caught.value.message
    assert B.fingerprint in caught.value.message
    assert "--forget-host-key" in caught.value.hint
    assert pins.get(None, "203.0.113.7:22") == A


def test_the_configured_key_is_never_asked_about(pins: Pins) -> None:
    ask = Answers("yes")
    trust(pins, "SHA256:AAAA").check(A, ask)
    with pytest.raises(HostKeyChanged, match="host_key"):
        trust(pins, "SHA256:AAAA").check(B, ask)
    assert not ask.questions


def test_profiles_and_endpoints_have_pins_of_their_own(pins: Pins) -> None:
    pins.put(None, "203.0.113.7:22", A)
    pins.put("gpu2", "203.0.113.7:22", B)
    assert pins.get(None, "203.0.113.7:22") == A
    assert pins.get("gpu2", "203.0.113.7:22") == B
    assert pins.get("gpu2", "203.0.113.7:23") is None


def test_the_vms_pin_is_forgotten_and_the_relays_kept(pins: Pins) -> None:
    pins.put(None, "localhost:10022 via 203.0.113.7:22", A)
    pins.put(None, "203.0.113.7:22", A)
    assert pins.forget(None, "203.0.113.7:22") == 1
    relay = Trust(pins, None, "203.0.113.7:22", what="relay")
    with pytest.raises(HostKeyChanged, match="the relay was replaced") as caught:
        relay.check(B, Answers("yes"))
    assert "--forget-host-key" not in caught.value.hint
    assert "relay check --host-key" in caught.value.hint
    replace(relay, configured=B.fingerprint).check(B, Answers("no"))
    relay.check(B, Answers("no"))  # from now on


def test_a_question_says_which_machine_it_is_about(pins: Pins) -> None:
    ask = Answers("no")
    with pytest.raises(HostKeyUnknown) as caught:
        Trust(pins, None, "203.0.113.7:22", what="relay").check(A, ask)
    assert "Is this your relay?" in ask.questions[0].text
    assert "on the relay" in caught.value.hint
    assert "[link]" not in caught.value.hint  # that key is the VM's


def test_forgetting_a_profile_leaves_the_others(pins: Pins) -> None:
    pins.put("gpu", "203.0.113.7:22", A)
    pins.put("gpu", "203.0.113.8:22", A)
    pins.put("gpu2", "203.0.113.7:22", B)
    assert pins.forget("gpu") == 2
    assert pins.forget("gpu") == 0
    assert pins.get("gpu", "203.0.113.7:22") is None
    assert pins.get("gpu2", "203.0.113.7:22") == B


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pins": []}', '{"pins": {"x": {"kind": "a"}}}']
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "host_keys.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="damaged") as caught:
        Pins(path).get(None, "203.0.113.7:22")
    assert str(path) in caught.value.message
    assert "delete it" in caught.value.hint


def test_writing_leaves_one_complete_file(tmp_path: Path) -> None:
    path = tmp_path / "host_keys.json"
    for number in range(5):
        Pins(path).put(None, f"203.0.113.7:{number}", A)
    assert [entry.name for entry in tmp_path.iterdir()] == ["host_keys.json"]
    assert Pins(path).get(None, "203.0.113.7:0") == A
