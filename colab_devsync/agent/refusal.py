"""What the file system or the path rules refuse, as results and in words."""

from __future__ import annotations

import errno
import os
import stat
from typing import Callable, TypeVar, Union

from . import wire
from .paths import UnsafePath
from .wire import Result

_WORDS = {
    errno.ENOSPC: "the VM's disk is full",
    errno.EDQUOT: "the disk quota on the VM is used up",
    errno.EFBIG: "the file is too large for the VM's file system or limits",
    errno.EROFS: "the file system on the VM is read-only",
    errno.EACCES: "permission denied on the VM",
    errno.EPERM: "not permitted on the VM",
    errno.ENAMETOOLONG: "the name is too long for the VM's file system",
    errno.EISDIR: "a folder stands there on the VM",
    errno.EEXIST: "a file stands there on the VM",
    errno.ENOTEMPTY: "a folder with files of its own stands there on the VM",
    errno.ENOTDIR: "a file stands on the VM where a folder is needed",
    errno.EMFILE: "the VM allows the agent too few open files",
}

_T = TypeVar("_T")


def in_words(exc: OSError) -> str:
    """An error of the file system, for people."""
    known = _WORDS.get(exc.errno or 0)
    return known or (os.strerror(exc.errno) if exc.errno else str(exc))


def check_replaceable(now: os.stat_result) -> None:
    """UnsafePath for what no file may take the place of, as /dev/null."""
    if not stat.S_ISREG(now.st_mode) and not stat.S_ISLNK(now.st_mode):
        raise UnsafePath("a device, pipe or socket stands there on the VM")


def guarded(step: Callable[[], _T]) -> Union[_T, Result]:
    """Runs a step of one entry; what refuses it is its result, not the batch's end."""
    try:
        return step()
    except UnsafePath as exc:
        return (wire.REFUSED, "", str(exc))
    except OSError as exc:
        return (wire.REFUSED, "", in_words(exc))
