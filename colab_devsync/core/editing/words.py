"""Keys and tables of the configuration in Markdown, for hover and completion. Pure."""

from __future__ import annotations

from ..config.introspect import KeyInfo, TableInfo

PAGE = "docs/reference/configuration.md"


def about_key(key: KeyInfo) -> str:
    """What the reference page says about it."""
    about = key.about
    lines = [f"**{key.path}**: {key.expected}", "", about.doc]
    if about.providers:
        names = " and ".join(f"`{one}`" for one in about.providers)
        lines.append(f"Only for {names}.")
    facts = []
    if key.required:
        facts.append("Required.")
    elif key.default_text:
        default = key.default_text
        facts.append(f"Default: {default if about.default else f'`{default}`'}.")
    facts.append(f"Example: `{key.name} = {about.example}`")
    return "\n".join([*lines, "", "  \n".join(facts)])


def about_table(table: TableInfo) -> str:
    lines = [f"**{header(table)}**", "", table.doc]
    if table.repeated:
        lines.append("May stand several times.")
    rows = [f"- `{key.name}`: {_first(key.about.doc)}" for key in table.keys.values()]
    return "\n".join([*lines, "", *rows])


def about_profiles() -> str:
    return (
        "**[profiles.NAME.TABLE]**\n\nOverrides keys of any table. Choose a profile "
        "with `--profile NAME` or `COLAB_DEVSYNC_PROFILE=NAME`."
    )


def header(table: TableInfo) -> str:
    return f"[[{table.name}]]" if table.repeated else f"[{table.name}]"


def _first(doc: str) -> str:
    sentence, dot, _ = doc.partition(". ")
    return sentence + dot.rstrip()
