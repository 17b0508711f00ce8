"""Neovim 0.11: the server, a command `:Devsync`, nvim-dap. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources

from .model import Facts, File, Setup


def setup(facts: Facts) -> Setup:
    folder = facts.places.nvim
    server = _text("neovim_lsp.lua", facts.command)
    plugin = _text("neovim_plugin.lua", facts.command)
    return Setup(
        files=(
            File(
                folder / "lsp" / "colab_devsync.lua",
                server,
                "what the server is for",
                is_outside=True,
            ),
            File(
                folder / "plugin" / "colab_devsync.lua",
                plugin,
                "starts it, adds :Devsync and nvim-dap's configuration",
                is_outside=True,
            ),
        ),
        steps=(
            "Restart Neovim (0.11 or newer) and open a file of the project.",
            ":Devsync run runs the open file on the VM; :Devsync <Tab> lists the rest.",
        ),
    )


def _text(name: str, command: Sequence[str]) -> str:
    template = resources.files(__package__).joinpath("templates", name)
    words = ", ".join(json.dumps(word, ensure_ascii=False) for word in command)
    return template.read_text(encoding="utf-8").replace("@COMMAND@", words)
