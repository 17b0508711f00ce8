"""The global options, which may stand before or after the command's name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Server(Protocol):
    """A server of our own, inside this process."""

    socket: Any

    def close(self) -> None: ...


StartServer = Callable[[str | None], Server]


@dataclass(frozen=True)
class Settings:
    """What the global options say."""

    project: Path | None = None
    profile: str | None = None
    json: bool = False
    in_process: bool = False
    verbose: bool = False
    start_server: StartServer | None = field(default=None, repr=False)

    @property
    def start(self) -> Path:
        """Where the search for the project begins."""
        return self.project or Path(os.getcwd())

    @property
    def profile_name(self) -> str | None:
        """The option's, else the environment's."""
        return self.profile or os.environ.get("COLAB_DEVSYNC_PROFILE") or None


class Holder:
    """click hands values to callbacks one by one; this collects them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings


def current() -> Settings:
    return click.get_current_context().find_object(Holder).settings  # type: ignore[union-attr]  # set by app.run


def global_options(hidden: bool) -> Callable[[F], F]:
    """Adds them to a command; sub-commands accept them without listing them."""
    options = (
        click.option(
            "--project",
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            metavar="DIR",
            help="The project folder (default: from here upwards).",
        ),
        click.option("--profile", metavar="NAME", help="A profile of the project."),
        click.option("--json", is_flag=True, help="One JSON object per line."),
        click.option(
            "--in-process", is_flag=True, help="Work without the background daemon."
        ),
        click.option("-v", "--verbose", is_flag=True, help="Tracebacks with errors."),
    )

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    def configure(command: F) -> F:
        command = add(command)
        for param in command.__click_params__[-len(options) :]:  # type: ignore[attr-defined]  # click's own list
            param.expose_value = False
            param.callback = _store
            param.hidden = hidden
        return command

    return configure


def _store(context: click.Context, param: click.Parameter, value: Any) -> Any:
    holder = context.find_object(Holder)
    if holder is not None and param.name is not None and value:
        holder.settings = replace(holder.settings, **{param.name: value})
    return value
