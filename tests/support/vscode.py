"""What VS Code says at `initialize`, as far as a server looks at it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_DYNAMIC = {"dynamicRegistration": True}


def initialize_params(root: Path) -> dict[str, Any]:
    return {
        "processId": os.getpid(),
        "clientInfo": {"name": "Visual Studio Code", "version": "1.109.0"},
        "locale": "en",
        "rootPath": str(root),
        "rootUri": root.as_uri(),
        "capabilities": {
            "workspace": {
                "applyEdit": True,
                "configuration": True,
                "didChangeConfiguration": _DYNAMIC,
                "didChangeWatchedFiles": {
                    **_DYNAMIC,
                    "relativePatternSupport": True,
                },
                "executeCommand": _DYNAMIC,
                "workspaceFolders": True,
                "codeLens": {"refreshSupport": True},
            },
            "textDocument": {
                "synchronization": {**_DYNAMIC, "didSave": True, "willSave": True},
                "publishDiagnostics": {
                    "relatedInformation": True,
                    "versionSupport": False,
                    "dataSupport": True,
                },
                "codeAction": {
                    **_DYNAMIC,
                    "dataSupport": True,
                    "codeActionLiteralSupport": {
                        "codeActionKind": {"valueSet": ["", "quickfix", "source"]}
                    },
                },
                "codeLens": _DYNAMIC,
                "hover": {**_DYNAMIC, "contentFormat": ["markdown", "plaintext"]},
            },
            "window": {
                "workDoneProgress": True,
                "showMessage": {
                    "messageActionItem": {"additionalPropertiesSupport": True}
                },
                "showDocument": {"support": True},
            },
            "general": {"positionEncodings": ["utf-16"]},
            "experimental": {"colabDevsync": {"startDebugging": True}},
        },
        "initializationOptions": {"autoConnect": True},
        "trace": "off",
        "workspaceFolders": [{"uri": root.as_uri(), "name": root.name}],
    }
