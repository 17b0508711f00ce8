"""Results of commands in words, for editors that would drop them (`show: true`).

`in_words` is pure; `Showing` sends standard messages. On the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException

if TYPE_CHECKING:
    from .jobs import Job
    from .server import DevsyncServer

_SHOW_S = 10.0
_LONG = 4096  # characters without a line end

Result = Mapping[str, Any]


def in_words(name: str, result: Any) -> str:
    """What a command found or did, in a sentence or a few lines."""
    if not isinstance(result, Mapping):
        return ""
    words = _WORDS.get(name)
    return words(result) if words is not None else f"{name}: done."


def _status(result: Result) -> str:
    vm = result.get("vm") or {}
    machine = ", ".join(filter(None, (vm.get("host"), vm.get("gpu"))))
    parts = [f"{result['name']} is {result['link']}"]
    if machine:
        parts.append(f"on {machine}")
    if result.get("rttMs") is not None:
        parts.append(f"{result['rttMs']:.0f} ms away")
    if result.get("pending"):
        parts.append(f"{result['pending']} files pending")
    if result.get("conflicts"):
        parts.append(f"{result['conflicts']} conflicts")
    return " ".join(filter(None, (", ".join(parts) + ".", result.get("message"))))


def _sync(result: Result) -> str:
    said = f"{result['files']} files ({result['bytes']:,} bytes) sent"
    if result["conflicts"]:
        said += f", {result['conflicts']} conflicts left"
    return said + "."


def _runs(result: Result) -> str:
    rows = [f"{one['run']}: {one['state']}" for one in result["runs"]]
    return "\n".join(rows) or "There are no runs on the VM."


def _conflicts(result: Result) -> str:
    rows = [
        f"{one['path']} (the VM's version: {one['remote_copy']})"
        for one in result["conflicts"]
    ]
    return "\n".join(["Changed on both sides:", *rows]) if rows else "No conflicts."


def _debug(result: Result) -> str:
    host, port = result["connect"]["host"], result["connect"]["port"]
    return f"Attach your debugger to {host}:{port}; the program waits for it."


def _doctor(result: Result) -> str:
    bad = [one for one in result["checks"] if one["ok"] is False]
    rows = [f"{one['name']}: {one['message']} {one['hint']}".strip() for one in bad]
    return "\n".join(rows) or f"All {len(result['checks'])} checks are good."


def _setup(result: Result) -> str:
    rows = [
        f"{one['path']}: {', '.join(filter(None, (one['state'], one.get('reason'))))}"
        for one in result["files"]
    ]
    steps = [f"{number}. {step}" for number, step in enumerate(result["steps"], 1)]
    return "\n".join([*rows, "What is left to do:", *steps])


def _shell(result: Result) -> str:
    argv = [word for word in result["argv"] if word]
    return "Run this in a terminal: " + " ".join(argv)


_WORDS: Mapping[str, Callable[[Result], str]] = {
    "devsync.connect": _status,
    "devsync.disconnect": _status,
    "devsync.status": _status,
    "devsync.sync": _sync,
    "devsync.runs": _runs,
    "devsync.conflicts": _conflicts,
    "devsync.debug": _debug,
    "devsync.doctor": _doctor,
    "devsync.setup": _setup,
    "devsync.shell": _shell,
    "devsync.run": lambda r: f"{r['run']} runs on the VM; its output is in the log.",
    "devsync.stop": lambda r: f"{r['run']}: {r['state']}.",
    "devsync.forward": lambda r: f"The VM's port is at {r.get('url', 'an end')}.",
    "devsync.tensorboard": lambda r: f"TensorBoard is at {r['url']}.",
    "devsync.resolve": lambda r: f"{r['path']}: the {r['keep']} version is kept.",
    "devsync.pull": lambda r: f"{r['files']} files ({r['bytes']:,} bytes) pulled.",
    "devsync.init": lambda r: f"{r['path']} is written.",
    "devsync.install": lambda r: f"{', '.join(r['packages'])} installed on the VM.",
}


def show(ls: DevsyncServer, name: str, answer: Any) -> None:
    """Shows `answer` now, or the result of its job when that has ended."""
    is_job = isinstance(answer, Mapping) and answer.get("state") == "started"
    if not is_job or "job" not in answer:
        _say(ls, name, answer)
        return
    job: Job = ls.jobs.get(answer["job"])
    job.finished.add_done_callback(lambda done: _ended(ls, name, done))


def _ended(ls: DevsyncServer, name: str, done: asyncio.Future[Any]) -> None:
    if done.cancelled() or done.result()["state"] != "done":
        return  # a failure is shown anyway
    result = done.result()["result"]
    _say(ls, name, result)
    if name == "devsync.tensorboard":
        ls.spawn(_open(ls, result["url"]))


def _say(ls: DevsyncServer, name: str, result: Any) -> None:
    text = in_words(name, result)
    if text:
        params = types.ShowMessageParams(types.MessageType.Info, text)
        ls.tell(types.WINDOW_SHOW_MESSAGE, params)


def show_output(ls: DevsyncServer, run: str) -> None:
    """From now on until it ends; to be called before its output comes."""
    ls.shown_runs[run] = {}


def log_output(ls: DevsyncServer, run: str, stream: str, text: str) -> None:
    """A run's output for editors that know nothing of `colabDevsync/output`. Whole
    lines: every message is one in the editor, however the output was cut."""
    rests = ls.shown_runs.get(run)
    if rests is None:
        return
    text = rests.get(stream, "") + text
    end = max(text.rfind("\n"), text.rfind("\r")) + 1  # or a step of a progress bar
    if not end and len(text) > _LONG:
        end = len(text)
    rests[stream] = text[end:]
    if end:
        log(ls, text[:end].removesuffix("\n").removesuffix("\r"))


def log(ls: DevsyncServer, text: str) -> None:
    params = types.LogMessageParams(types.MessageType.Info, text)
    ls.tell(types.WINDOW_LOG_MESSAGE, params)


def run_ended(ls: DevsyncServer, run: str, body: Result) -> None:
    rests = ls.shown_runs.pop(run, None)
    if rests is None:
        return
    for rest in filter(None, rests.values()):
        log(ls, rest)
    code = body.get("exitCode")
    ended = (
        f"ended with exit code {code}" if code is not None else f"is {body['state']}"
    )
    good = types.MessageType.Info if code == 0 else types.MessageType.Warning
    params = types.ShowMessageParams(good, f"{run} {ended}.")
    ls.tell(types.WINDOW_SHOW_MESSAGE, params)


async def _open(ls: DevsyncServer, url: str) -> None:
    if can_show_documents(ls):
        await show_document(ls, types.ShowDocumentParams(uri=url, external=True))


def can_show_documents(ls: DevsyncServer) -> bool:
    window = ls.client_capabilities.window
    shows = window.show_document if window else None
    return bool(shows and shows.support)


async def show_document(ls: DevsyncServer, params: types.ShowDocumentParams) -> bool:
    """Whether the client says that it did. Some never answer."""
    asked = ls.window_show_document_async(params)
    try:
        return (await asyncio.wait_for(asked, _SHOW_S)).success
    except (JsonRpcException, TimeoutError, asyncio.TimeoutError):
        return False
