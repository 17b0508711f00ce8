"""`pull`: fetches finished files of the VM now, or follows them."""

from __future__ import annotations

import time
from typing import Any

import click

from . import output
from .progress import Bar
from .settings import Settings, current, global_options
from .talk import Talk


@click.command()
@global_options(hidden=True)
@click.argument("name", required=False)
@click.option(
    "--follow", is_flag=True, help="Stay, and print each file that comes; ctrl-C ends."
)
def pull(name: str | None, follow: bool) -> None:
    """Fetch what the [[pull]] rules name and the VM has finished.

    NAME is a rule's local folder. While you are connected this happens by itself; the
    command waits until everything is here.
    """
    settings = current()
    shown = _Shown(settings, follow=follow)
    if follow:
        output.note("Each file is shown when it is here, whole. Ctrl-C ends this.")
    with Bar(settings) as bar:

        def notified(method: str, params: Any) -> None:
            if not follow:
                bar.notified(method, params)
            shown.notified(method, params)

        with Talk(settings, notified=notified, pause=bar.pause) as talk:
            done = talk.job("pull", name=name, follow=follow)
            status = talk.in_project("status")
    problems = _problems(status, name)
    body = {**done, "problems": problems} if problems else done
    output.result(settings, body, _summary(done, status, name, problems))


class _Shown:
    """With `follow`, a line for each file, and for what goes wrong."""

    def __init__(self, settings: Settings, *, follow: bool) -> None:
        self._settings = settings
        self._follow = follow
        self._told: dict[str, str | None] = {}  # what is wrong, by rule

    def notified(self, method: str, params: Any) -> None:
        if self._follow and method == "colabDevsync/pulled":
            output.result(self._settings, {"event": "pulled", **params}, line(params))
        elif self._follow and method == "colabDevsync/pulls":
            self._tell_wrong(params["pulls"])

    def _tell_wrong(self, pulls: list[dict[str, Any]]) -> None:
        for one in pulls:
            wrong = one.get("message") if one["state"] == "failed" else None
            if wrong and wrong != self._told.get(one["name"]):
                output.note(f"{one['name']}: {wrong}")
            self._told[one["name"]] = wrong


def line(params: dict[str, Any]) -> str:
    """A file that came."""
    size = output.size(params["bytes"])
    return f"{time.strftime('%H:%M:%S')}  {params['name']}/{params['path']}  {size}"


def shown(pull: dict[str, Any]) -> str:
    """How a rule stands, for `status`."""
    parts = [f"{pull['here']} here"]
    if pull["waiting"]:
        waiting = output.size(pull["waitingBytes"])
        parts.append(f"{pull['waiting']} to come ({waiting})")
    only = pull["onlyThere"] - pull["waiting"]
    if only > 0:
        parts.append(f"{only} more on the VM only")
    if pull["writing"]:
        parts.append(f"{pull['writing']} still written")
    if "newestAt" in pull:
        age = output.age(max(0.0, time.time() - pull["newestAt"]))
        parts.append(f"newest: {pull['newest']}, {age} old")
    text = f"{pull['name']}: {pull['state']}; {', '.join(parts)}"
    return f"{text}\n  {pull['message']}" if pull.get("message") else text


def _problems(status: dict[str, Any], name: str | None) -> list[dict[str, Any]]:
    """What a person should know of these rules' files."""
    folders = tuple(
        "" if one["local"] == "." else one["local"] + "/"
        for one in status.get("pulls", ())
        if name in (None, one["name"])
    )
    found = status.get("problems", ())
    return [one for one in found if one["path"] and one["path"].startswith(folders)]


def _summary(
    done: dict[str, Any],
    status: dict[str, Any],
    name: str | None,
    problems: list[dict[str, Any]],
) -> str:
    files = "1 file" if done["files"] == 1 else f"{done['files']} files"
    lines = [f"{files} pulled ({output.size(done['bytes'])})."]
    pulls = status.get("pulls", ())
    lines += [shown(one) for one in pulls if name in (None, one["name"])]
    lines += [f"{one['path']}: {one['message']} {one['hint']}" for one in problems]
    return "\n".join(line.rstrip() for line in lines)
