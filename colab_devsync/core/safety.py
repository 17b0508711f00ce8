"""When a batch of deletions must not go out without a yes. Pure predicates.

An empty listing is never proof that somebody deleted a project: disks get unmounted,
folders renamed, walks fail half-way.
"""

from __future__ import annotations

from dataclasses import dataclass

FEW = 20
SHARE = 0.25


@dataclass(frozen=True)
class RootState:
    """What is known of the local project folder at the moment of the batch."""

    exists: bool = True
    same_folder: bool = True  # the device and inode we started with
    walk_errors: int = 0


def objection(deleting: int, manifest: int, root: RootState) -> str | None:
    """Why these deletions must not be sent unasked; None if they may be.

    `manifest` counts the files on the VM that are ours, before the batch.
    """
    if deleting == 0:
        return None
    if not root.exists:
        return "the project folder is gone"
    if not root.same_folder:
        return "the project folder was replaced by another one"
    if root.walk_errors:
        return f"{root.walk_errors} folders could not be read"
    if deleting >= manifest > 1:
        return "the project folder was emptied"
    if deleting > max(FEW, SHARE * manifest):
        return f"{deleting} of {manifest} files would be deleted at once"
    return None
