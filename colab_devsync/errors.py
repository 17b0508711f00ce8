"""The error tree. A leaf: imports nothing of ours.

Every message says what failed and where; `hint` says what to do next; `exit_code`
is what the command line exits with.

- DevsyncError                1
  - ConfigError               2   the project's `.colabremote.toml`
  - LinkError                 3   the way to the VM
    - ConnectFailed               name, TCP, SSH handshake
      - VmAbsent                  the way there is fine, the VM is not at its end
      - SlotTaken                 somebody else holds the one connection it admits
    - AuthFailed                  the server refused the key
    - HostKeyUnknown              nobody vouched for the host key
    - HostKeyChanged              not the machine we pinned
    - LinkLost                    an open connection died
    - ForwardRefused              the server admits no direct-tcpip channel
    - RelayRefused                your relay could not be set up
  - AgentError                4   the helper process on the VM
    - NoPython, PythonTooOld, NoisyShell, AgentCrashed, ProtocolMismatch
    - RemoteRefused               the VM's file system said no (read-only, full, denied)
    - StaleAgent                  another session took the project folder over
  - SyncError                 5   the mirror
    - UnsafePlan                  halted before a mass delete
    - Conflicts                   files changed on both sides
    - NotFlushed                  files could not be brought up to date
    - NotPulled                   files of the VM could not be fetched
    - PushError                   data could not be pushed
  - RunError                  6   a program could not be started
  - Busy                      7   somebody else holds what is needed
"""

from __future__ import annotations


class DevsyncError(Exception):
    """Base of all expected failures. `str(error)` is for people."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def code(self) -> str:
        """Stable name for machines: the class name."""
        return type(self).__name__


class ConfigError(DevsyncError):
    """The configuration is missing or wrong."""

    exit_code = 2


class LinkError(DevsyncError):
    """The VM cannot be reached, or is not to be trusted."""

    exit_code = 3


class ConnectFailed(LinkError):
    """No SSH server answered."""


class VmAbsent(ConnectFailed):
    """The way there works, but no VM is at its end (yet)."""


class SlotTaken(ConnectFailed):
    """The VM admits one connection, and somebody else has it."""


class AuthFailed(LinkError):
    """The SSH server answered but refused the user's key."""


class HostKeyUnknown(LinkError):
    """The host key is not pinned and nobody accepted it."""


class HostKeyChanged(LinkError):
    """The host key differs from the pinned one."""


class LinkLost(LinkError):
    """An open connection ended or fell silent."""


def connection_closed(why: str | None = None) -> LinkLost:
    """Somebody disconnected, or the configuration leads elsewhere now."""
    return LinkLost(
        why or "The connection was closed.", "`colab-devsync connect` opens it again."
    )


class ForwardRefused(LinkError):
    """The SSH server does not admit forwarded connections."""


class RelayRefused(LinkError):
    """The set-up of a relay stopped on that server."""


class AgentError(DevsyncError):
    """The helper process on the VM failed."""

    exit_code = 4


class NoPython(AgentError):
    """The VM has no usable Python under the configured name."""


class PythonTooOld(AgentError):
    """The VM's Python is older than the agent's floor."""


class NoisyShell(AgentError):
    """The login shell printed something and never started the agent."""


class AgentCrashed(AgentError):
    """The agent ended or broke the protocol; carries its last words."""


class ProtocolMismatch(AgentError):
    """The other side speaks another protocol version."""


class RemoteRefused(AgentError):
    """The VM's file system refused: read-only, full, denied."""


class StaleAgent(AgentError):
    """Another session owns the remote folder now."""


class SyncError(DevsyncError):
    """The mirror could not be completed."""

    exit_code = 5


class UnsafePlan(SyncError):
    """Halted: the plan would delete too much."""


class Conflicts(SyncError):
    """Files changed on both sides and wait for a decision."""


class NotFlushed(SyncError):
    """Some files are not on the VM."""


class NotPulled(SyncError):
    """Some files of the VM are not here."""


class PushError(SyncError):
    """Data could not be pushed, or not all of it."""


class RunError(DevsyncError):
    """A program could not be started on the VM."""

    exit_code = 6


class UnknownRun(RunError):
    """The VM knows no run of this id."""


class Busy(DevsyncError):
    """Somebody else holds the daemon socket or the remote folder."""

    exit_code = 7
