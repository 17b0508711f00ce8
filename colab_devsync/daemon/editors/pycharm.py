"""PyCharm and other JetBrains IDEs: LSP4IJ templates, run configurations, and the SSH
configuration, server and deployment of the Professional edition. Pure."""

from __future__ import annotations

from .jetbrains_run import run_files
from .jetbrains_ssh import ssh_files
from .lsp4ij import template_files
from .model import Facts, File, Setup


def setup(facts: Facts) -> Setup:
    private = ssh_files(facts)
    files = [*template_files(facts), *run_files(facts), *private]
    exclude = _exclude(facts, private)
    return Setup(files=[*files, *([exclude] if exclude else [])], steps=_steps(facts))


def _exclude(facts: Facts, private: list[File]) -> File | None:
    """`.git/info/exclude` names what has user and host in it; .gitignore is shared."""
    places = facts.places
    if places.git_exclude is None:
        return None
    names = [
        f"/{places.git_prefix}{one.path.relative_to(places.project).as_posix()}"
        for one in private
    ]

    def merge(text: str) -> str:
        there = {line.strip() for line in text.splitlines()}
        missing = [name for name in names if name not in there]
        if not missing:
            return text
        head = text if text.endswith("\n") or not text else f"{text}\n"
        return head + "\n".join(missing) + "\n"

    what = "keeps the files with your host and user out of git"
    return File(places.git_exclude, merge(""), what, merge=merge, is_outside=True)


def _steps(facts: Facts) -> list[str]:
    own = facts.places.own
    steps = [
        "Install the plugin LSP4IJ (Settings > Plugins), then restart the IDE.",
        "View > Tool Windows > Language Servers > + > Template > Import from custom "
        f"template: choose {own / 'lsp4ij-server'}",
        "To debug any file, not only that of [run]: Run > Edit Configurations > + > "
        "Debug Adapter Protocol > Server > create a new one > Template > Import from "
        f"custom template: choose {own / 'lsp4ij-debugger'}",
        "Professional, once: Settings > Python > Interpreter > Add Interpreter > On "
        f"SSH > Existing > {facts.alias}; choose the VM's Python and map the project "
        f"to {facts.remote_root}.",
    ]
    if facts.upload_by == "daemon":
        steps.append("Leave automatic upload off: colab-devsync has uploaded already.")
    else:
        steps.append(
            "PyCharm uploads now. Do not add the LSP4IJ server: it would upload, too."
        )
    return steps
