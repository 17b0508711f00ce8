"""`relay check` finds what is open: the same relay, correct and weakened on purpose."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.daemon.relay_setup import Server, examine
from colab_devsync.link.relay_check import Finding
from tests.e2e.place import Place
from tests.support.relay import LAPTOP_LINE, RULES, VM_LINE, Relay
from tests.support.remotes import never
from tests.support.vm import TIMEOUT_S

Found = dict[str, Finding]
Check = Callable[..., Found]


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Check]:
    """The findings by name, for a relay with these differences."""
    with ExitStack() as stack:

        def run(laptop: bool = False, **weak: Any) -> Found:
            relay = stack.enter_context(Relay(tmp_path / "relay", **weak))
            found = examine(
                Server.parse(relay.login),
                vm_user=relay.sshd.user,
                vm_key_file=relay.vm_key,
                laptop_user=relay.sshd.user if laptop else None,
                identity_file=str(relay.laptop_key),
                listen_port=relay.port,
                state=tmp_path / "state",
                profile=None,
                host_key=relay.sshd.fingerprint,
                ask=never,
            )
            return {one.name: one for one in found}

        yield run


def holes(found: Found) -> set[str]:
    return {name for name, one in found.items() if one.ok is False}


def test_as_it_is_set_up_nothing_is_open(check: Check) -> None:
    found = check(laptop=True)
    assert holes(found) == set()
    for name in ("vm login", "vm listener", "laptop login", "laptop way"):
        assert found[name].ok is True
    assert len(found) > 25


def test_a_key_without_permitopen_reaches_the_relays_own_services(check: Check) -> None:
    line = VM_LINE.replace(',permitopen="localhost:1"', "")
    rules = [rule for rule in RULES if not rule.startswith("PermitOpen")]
    found = check(vm_line=line, extra=rules)
    assert {name for name in holes(found) if "reaches" in name} == holes(found)
    assert len(holes(found)) >= 4
    assert "permitopen" in found["vm reaches localhost:2"].hint


def test_a_key_that_may_listen_anywhere_is_found(check: Check) -> None:
    found = check(vm_line=VM_LINE.replace("localhost:{port}", "*:{port}"))
    assert holes(found) == {"vm listens on all addresses"}
    assert "0.0.0.0" in found["vm listens on all addresses"].message


def test_a_key_without_permitlisten_is_found(check: Check) -> None:
    found = check(vm_line=VM_LINE.replace('permitlisten="localhost:{port}",', ""))
    assert "vm listens on another port" in holes(found)
    assert "vm listens on any port" in holes(found)
    assert "vm listens on all addresses" in holes(found)


def test_a_shell_is_found(check: Check) -> None:
    rules = [rule for rule in RULES if not rule.startswith("ForceCommand")]
    found = check(extra=rules)
    assert holes(found) == {"vm has commands", "vm has a shell", "vm has files by sftp"}
    assert "nologin" in found["vm has a shell"].hint


def test_unix_sockets_are_found(check: Check) -> None:
    rules = [rule for rule in RULES if "StreamLocal" not in rule]
    found = check(extra=rules)
    assert "vm listens on a Unix socket" in holes(found)
    hint = found["vm listens on a Unix socket"].hint
    assert "AllowStreamLocalForwarding no" in hint


def test_passwords_are_found(check: Check) -> None:
    found = check(extra=(*RULES, "Match all", "PasswordAuthentication yes"))
    assert holes(found) == {"passwords"}


def test_a_laptop_that_cannot_reach_the_vm_is_told_why(check: Check) -> None:
    line = LAPTOP_LINE.replace("localhost:{port}", "localhost:1")
    found = check(laptop=True, laptop_line=line)
    assert holes(found) == {"laptop way"}
    assert "permitopen" in found["laptop way"].hint


def test_an_account_of_ones_own_is_only_mentioned(check: Check) -> None:
    rules = [rule for rule in RULES if not rule.startswith("ForceCommand")]
    found = check(laptop=True, extra=rules, laptop_line="{key}")
    assert found["laptop account"].ok is None
    assert "laptop reaches localhost:2" not in found


def test_a_key_that_is_not_there_says_what_to_do(check: Check) -> None:
    found = check(vm_line="# nothing")
    assert holes(found) == {"vm login"}
    assert "relay setup --apply" in found["vm login"].hint


def test_holes_are_exit_code_1_and_a_false_relay_is_not_attacked(
    place: Place, tmp_path: Path
) -> None:
    with Relay(tmp_path / "relay", extra=()) as relay:
        command = ["relay", "check", relay.login, "--vm-key", str(relay.vm_key)]
        command += ["--vm-user", relay.sshd.user, "--port", str(relay.port)]
        unknown = place.run(*command)
        assert unknown.returncode == 3
        assert relay.sshd.fingerprint.encode() in unknown.stderr
        wrong = place.run(*command, "--host-key", "SHA256:" + 43 * "A")
        assert wrong.returncode == 3
        done = place.run(*command, "--host-key", relay.sshd.fingerprint, "--json")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 1
        assert {"vm has a shell"} < {one["name"] for one in found if not one["ok"]}
        text = place.run(*command, timeout_s=TIMEOUT_S).stdout.decode()
        assert "HOLE: it can have a shell on the relay" in text
        assert "to be closed" in text
