"""Emacs: one file to load, with eglot, commands and dape's configuration. Pure."""

from __future__ import annotations

from importlib import resources

from .model import Facts, File, Setup


def setup(facts: Facts) -> Setup:
    path = facts.places.own / "emacs" / "colab-devsync.el"
    template = resources.files(__package__).joinpath("templates", "colab-devsync.el")
    words = " ".join(map(quoted, facts.command))
    text = template.read_text(encoding="utf-8").replace("@COMMAND@", words)
    load = f"(load {quoted(path.as_posix())})"
    return Setup(
        files=(File(path, text, "eglot, M-x colab-devsync-…, dape", is_ours=True),),
        steps=(
            f"Add this line to your init file: {load}",
            "Open .colabremote.toml and start eglot there (M-x eglot).",
            "M-x colab-devsync-run runs the visited file on the VM.",
        ),
    )


def quoted(text: str) -> str:
    """A string of Emacs Lisp."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
