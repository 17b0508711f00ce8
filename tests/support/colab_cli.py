"""Plays Google's `colab` command: FOLDER NEW_TOKEN FAILS [its own arguments]."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path


def main() -> None:
    folder, token, fails, *arguments = sys.argv[1:]
    with (Path(folder) / "calls").open("a") as file:
        file.write(json.dumps(arguments) + "\n")
    if fails:
        sys.exit(fails)
    path = Path(arguments[arguments.index("--config") + 1])
    known = json.loads(path.read_text()) if path.exists() else {}
    soon = datetime.now(timezone.utc) + timedelta(seconds=3600)
    if "new" in arguments:
        name = arguments[arguments.index("--session") + 1]
        model = next(iter(known.values()))
        known[name] = {**model, "name": name, "endpoint": f"m-s-{name}"}
        print(f"[colab] Creating session '{name}'...")
    elif token == "gone":
        known = {}
    elif token:
        for one in known.values():
            one["token"] = token
            one["token_expires_at"] = soon.isoformat().replace("+00:00", "Z")
    path.write_text(json.dumps(known, indent=2))


main()
