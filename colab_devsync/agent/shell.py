"""The user's own shell, with the notebook's environment still there in it.

A login shell runs the profile, and a profile sets PATH anew: CUDA's tools are gone.
So the shell is entered twice: as a login shell, which reads the profile, and from that,
after our variables are put back, as the one the user works with.
"""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from typing import Dict, Iterable, List, Tuple

assert sys.platform != "win32"  # runs on the VM only

_ENTER = "COLAB_DEVSYNC_ENTER"
# Read by every one of these shells as the same words.
_SECOND = "exec /bin/sh -c 'eval \"$%s\"'" % _ENTER
# Shells that read a profile with -c too, and what makes them login shells besides
# a name that begins with "-". Others start at once, without a profile.
_LOGIN_OPTIONS: Dict[str, List[str]] = {
    "sh": [],
    "dash": [],
    "ash": [],
    "ksh": [],
    "bash": ["-l"],
    "zsh": ["-l"],
    "fish": ["-l"],
}
# PATH keeps what the profile added, behind ours.
_MERGE_PATH = """\
found=$PATH; PATH=%s; set -f; IFS=:
for one in $found; do case ":$PATH:" in *":$one:"*) ;; *) PATH="$PATH:$one";; esac; done
set +f; unset IFS found one; export PATH
"""


def login(
    env: Dict[str, str], kept: Iterable[str], cwd: str
) -> Tuple[str, List[str], Dict[str, str]]:
    """The shell's file, its argv and its environment. The variables `kept` have the
    same values after the profile."""
    shell = env.get("SHELL") or _from_passwd()
    name = os.path.basename(shell)
    env = dict(env, SHELL=shell)
    options = _LOGIN_OPTIONS.get(name)
    if options is None:
        return shell, [name], env
    env[_ENTER] = _script(shell, env, kept, cwd)
    return shell, ["-" + name, *options, "-c", _SECOND], env


def _script(shell: str, env: Dict[str, str], kept: Iterable[str], cwd: str) -> str:
    lines = ["unset " + _ENTER]
    if env.get("PATH"):
        lines.append(_MERGE_PATH % shlex.quote(env["PATH"]))
    names = [name for name in kept if name in env and name != "PATH"]
    lines += [
        "export %s=%s" % (name, shlex.quote(env[name]))
        for name in sorted(names)
        if name.isascii() and name.isidentifier()
    ]
    lines += ["cd -- " + shlex.quote(cwd), "exec " + shlex.quote(shell)]
    return "\n".join(lines)


def _from_passwd() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
    except KeyError:  # containers run under numbers nobody has given a name
        return "/bin/sh"
