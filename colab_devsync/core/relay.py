"""What a relay needs: two accounts, what each may do, and the script that sets it up.

Pure: texts from values. Each rule here has been attacked by `relay check` in a test
against OpenSSH's server; change none without running it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ConfigError
from .relay_script import SCRIPT

VM_USER = "colab"
LISTEN_PORT = 10022
VM_MARK = "colab-vm"
LAPTOP_MARK = "laptop"
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_NOBODY = 1  # a port that nothing listens on: permitopen has no "none" in a key's line

_LIMITS = """\
    GatewayPorts no
    AllowAgentForwarding no
    AllowStreamLocalForwarding no
    X11Forwarding no
    PermitTunnel no
    PermitTTY no
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    ForceCommand /usr/sbin/nologin
    ClientAliveInterval 15
    ClientAliveCountMax 2
"""
_VM_RULES = """\
Match User {user}
    AllowTcpForwarding remote
    PermitListen localhost:{port}
    PermitOpen none
"""
_LAPTOP_RULES = """\
Match User {user}
    AllowTcpForwarding local
    PermitListen none
    PermitOpen localhost:{port}
"""


@dataclass(frozen=True)
class RelayPlan:
    """One relay for one VM. Keys are public ones: "ssh-ed25519 AAAA"."""

    host: str
    vm_key: str
    laptop_keys: Sequence[str] = ()
    vm_user: str = VM_USER
    laptop_user: str | None = "colab-laptop"  # None: you use an account of your own
    port: int = LISTEN_PORT  # on the relay's localhost

    def __post_init__(self) -> None:
        """ConfigError: the names stand in a script that root runs."""
        for user in filter(None, (self.vm_user, self.laptop_user)):
            if not _USER.fullmatch(user):
                raise ConfigError(
                    f"{user!r} is no name for an account of the relay.",
                    "It has small letters, digits, - and _, as in colab-2.",
                )
        if self.vm_user == self.laptop_user:
            raise ConfigError(
                f"The VM and your machine can't share the account {self.vm_user}.",
                "Each may do another thing: choose two names.",
            )

    @property
    def vm_rules(self) -> str:
        """The Match block of the account that the VM logs in to."""
        return _VM_RULES.format(user=self.vm_user, port=self.port) + _LIMITS

    @property
    def laptop_rules(self) -> str:
        """The Match block of your machine's account; "" without one."""
        if self.laptop_user is None:
            return ""
        return _LAPTOP_RULES.format(user=self.laptop_user, port=self.port) + _LIMITS

    @property
    def rules(self) -> str:
        """All of the file in sshd_config.d."""
        parts = [self.vm_rules, self.laptop_rules]
        return "# Written by colab-devsync relay setup.\n" + "".join(parts)

    @property
    def rules_name(self) -> str:
        own = "" if self.vm_user == VM_USER else f"-{self.vm_user}"
        return f"colab-devsync{own}.conf"

    @property
    def vm_lines(self) -> tuple[str, ...]:
        """authorized_keys of the VM's account: it may listen on one port, no more."""
        key = _bare(self.vm_key)
        return (
            f'restrict,port-forwarding,permitlisten="localhost:{self.port}",'
            f'permitopen="localhost:{_NOBODY}" {key} {VM_MARK}',
        )

    @property
    def laptop_lines(self) -> tuple[str, ...]:
        """authorized_keys of your machine's account: it may reach that port, no more.
        Without a key: a comment that shows where it goes."""
        keys = [_bare(key) for key in self.laptop_keys]
        return tuple(
            f"{'' if key else '# '}restrict,port-forwarding,"
            f'permitopen="localhost:{self.port}",permitlisten="localhost:{_NOBODY}" '
            f"{key or 'ssh-ed25519 AAAA...'} {LAPTOP_MARK}"
            for key in keys or [""]
        )

    def script(self) -> str:
        """A POSIX shell script to be run as root: `sh setup.sh [plan]`."""
        steps = _account(self.vm_user)
        steps += _keys(self.vm_user, VM_MARK, self.vm_lines)
        if self.laptop_user is not None:
            steps += _account(self.laptop_user)
            steps += _keys(self.laptop_user, LAPTOP_MARK, self.laptop_lines)
        checks = [
            f"effective {self.vm_user} {setting}"
            for setting in (
                "allowtcpforwarding=remote",
                f"permitlisten=localhost:{self.port}",
                "permitopen=none",
                "gatewayports=no",
                "permittty=no",
                "passwordauthentication=no",
                "forcecommand=/usr/sbin/nologin",
                "clientaliveinterval=15",
            )
        ]
        return SCRIPT.format(
            host=self.host,
            accounts=steps,
            rules_name=self.rules_name,
            rules=self.rules,
            checks="\n".join(checks),
        )


def _bare(key: str) -> str:
    """Type and key, without whatever comment it has."""
    return " ".join(key.split()[:2])


def _account(user: str) -> str:
    return f"account {user}\n"


def _keys(user: str, mark: str, lines: Sequence[str]) -> str:
    body = "\n".join(lines)
    return f"keys {user} {mark} <<'EOF'\n{body}\nEOF\n"
