"""Projects for end-to-end tests: their configuration, and what is on the VM."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.remotes import Remote


def write_config(folder: Path, remote: Remote, **changes: object) -> Path:
    """`.colabremote.toml` for `remote`; a value of None leaves a key out."""
    login = remote.login
    link: dict[str, object] = {
        "provider": "direct",
        "host": login.host,
        "port": login.port,
        "user": login.user,
        "identity_file": str(login.identity_file),
        "host_key": login.fingerprint,
        **changes,
    }
    lines = [f"{key} = {json.dumps(v)}" for key, v in link.items() if v is not None]
    text = "[link]\n" + "\n".join(lines) + f'\n\n[remote]\nroot = "{remote.root}"\n'
    path = folder / ".colabremote.toml"
    path.write_text(text)
    return path
