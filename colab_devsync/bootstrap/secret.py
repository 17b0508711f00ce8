"""Secrets: from Colab's own store, the environment, or a question. Never printed.

They are no part of the notebook and of no command line. Main thread.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
import textwrap
from typing import Optional

assert sys.platform != "win32"  # runs on the VM only

from .settings import (
    REFUSED,
    BootstrapError,
    Settings,
    read_file,
    read_json,
    write_file,
)

RELAY_KEY = "DEVSYNC_RELAY_KEY"
NGROK_TOKEN = "NGROK_AUTHTOKEN"
_NAMES = {"relay": RELAY_KEY, "ngrok": NGROK_TOKEN}
_FRAME = re.compile(r"-----(BEGIN|END) ([A-Z ]*PRIVATE KEY)-----")
_KIND = "OPENSSH PRIVATE KEY"


def secret_of(settings: Settings) -> Optional[str]:
    """What the tunnel of this provider needs; None if it needs nothing.

    A relay key that was given once on this VM is used again; if the relay refused it,
    there may be a better one. BootstrapError.
    """
    name = _NAMES.get(settings.provider)
    if name is None:
        return None
    found = _stored(name) or os.environ.get(name, "")
    if settings.provider == "ngrok":
        return (found or _asked(name, "your ngrok authtoken")).strip()
    path, what = settings.path("relay_key"), "the VM's private key for the relay"
    if not found and not read_file(path):
        found = _asked(name, what)
    elif not found and read_json(settings.path("tunnel.json")).get("state") == REFUSED:
        found = _answer(name, what + "; nothing: the one that was refused")
    if found:
        write_file(path, normal_key(found))
    return None


def normal_key(text: str) -> str:
    """A private key as ssh reads it, however it was pasted: with line breaks, with
    spaces or "\\n" in their place, or its base64 alone. BootstrapError."""
    text = text.replace("\\n", "\n").strip()
    frame = _FRAME.search(text)
    kind = frame.group(2) if frame else _KIND
    body = re.sub(r"\s+", "", _FRAME.sub("", text))
    if len(body) < 100 or not re.match(r"[A-Za-z0-9+/]+={0,2}\Z", body):
        raise BootstrapError(
            "The secret %s holds no private key. `colab-devsync relay key` on your own "
            "machine prints it; paste all of it." % RELAY_KEY
        )
    lines = "\n".join(textwrap.wrap(body, 70))
    return "-----BEGIN %s-----\n%s\n-----END %s-----\n" % (kind, lines, kind)


def _stored(name: str) -> str:
    """From Colab's secrets (the key symbol in its side bar); "" if that can't be."""
    try:
        from google.colab import userdata  # type: ignore[import-not-found,import-untyped,unused-ignore]  # only there
    except ImportError:
        return ""
    try:
        return str(userdata.get(name) or "")
    except Exception as error:  # noqa: BLE001 - its classes exist on Colab alone
        _say("Colab's secrets have no %s for this notebook (%s)." % (name, error))
        return ""


def _asked(name: str, what: str) -> str:
    answer = _answer(name, what)
    if not answer:
        raise BootstrapError(
            "The secret %s (%s) is missing. Add it to Colab's secrets (the key symbol "
            "in the side bar) and switch on notebook access." % (name, what)
        )
    return answer


def _answer(name: str, what: str) -> str:
    """ "" if nobody says anything."""
    try:
        answer = getpass.getpass("%s (%s), not shown: " % (what.capitalize(), name))
    except (EOFError, OSError):
        answer = ""
    except Exception as error:  # noqa: BLE001 - a kernel without a person raises its own
        _say("Nobody could be asked (%s)." % error)
        answer = ""
    return answer.strip()


def _say(text: str) -> None:
    print(text, file=sys.stderr)
