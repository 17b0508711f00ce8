"""Stand-ins for Microsoft's extensions `ms-python.python` and `ms-python.debugpy`: as
much of them as ours speaks with."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

# FILE is the interpreter that somebody has chosen.
_PYTHON = """\
const { Uri } = require("vscode");
exports.activate = () => ({
  environments: {
    getActiveEnvironmentPath: () => ({ path: FILE }),
    resolveEnvironment: async ({ path }) => ({ executable: { uri: Uri.file(path) } }),
  },
});
"""

# Writes what it is asked to attach to, and ends.
_DEBUGPY = """\
const { renameSync, writeFileSync } = require("node:fs");
const { debug, DebugAdapterInlineImplementation, EventEmitter } = require("vscode");
class Adapter {
  out = new EventEmitter();
  onDidSendMessage = this.out.event;
  handleMessage({ seq, command, arguments: asked }) {
    const answer = { type: "response", request_seq: seq, command, success: true };
    this.out.fire({ ...answer, body: {} });
    if (command !== "attach") return;
    writeFileSync(`${FILE}.new`, JSON.stringify(asked));
    renameSync(`${FILE}.new`, FILE);
    this.out.fire({ type: "event", event: "terminated" });
  }
  dispose() {}
}
const factory = {
  createDebugAdapterDescriptor: () =>
    new DebugAdapterInlineImplementation(new Adapter()),
};
exports.activate = () =>
  debug.registerDebugAdapterDescriptorFactory("debugpy", factory);
"""


def python_extension(folder: Path, interpreter: Path) -> Path:
    """The VSIX. `interpreter` is what somebody has chosen."""
    return _pack(folder, "python", _PYTHON, interpreter, activationEvents=[])


def debugpy_extension(folder: Path, asked: Path) -> Path:
    """The VSIX. `asked` gets the arguments of the request `attach`, as JSON."""
    contributes = {"debuggers": [{"type": "debugpy", "label": "Stand-in"}]}
    events = ["onDebug"]
    return _pack(
        folder,
        "debugpy",
        _DEBUGPY,
        asked,
        activationEvents=events,
        contributes=contributes,
    )


def _pack(folder: Path, name: str, code: str, file: Path, **more: object) -> Path:
    manifest = {
        "name": name,
        "publisher": "ms-python",
        "version": "0.0.1",
        "engines": {"vscode": "^1.91.0"},
        "main": "./main.js",
        "capabilities": {"untrustedWorkspaces": {"supported": True}},
        **more,
    }
    path = folder / f"{name}.vsix"
    with zipfile.ZipFile(path, "w") as vsix:
        vsix.writestr("extension/package.json", json.dumps(manifest))
        head = f"const FILE = {json.dumps(str(file))};\n"
        vsix.writestr("extension/main.js", head + code)
    return path
