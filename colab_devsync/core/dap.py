"""What our debug adapter says by itself, and how it changes what passes. Pure.

An editor launches; debugpy on the VM is attached to. The adapter between them answers
`initialize` at once, turns `launch` into `attach`, and hands the rest on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Message = dict[str, Any]

_YES = (
    "supportsCompletionsRequest",
    "supportsConditionalBreakpoints",
    "supportsConfigurationDoneRequest",
    "supportsDelayedStackTraceLoading",
    "supportsEvaluateForHovers",
    "supportsExceptionInfoRequest",
    "supportsExceptionOptions",
    "supportsFunctionBreakpoints",
    "supportsHitConditionalBreakpoints",
    "supportsLogPoints",
    "supportsModulesRequest",
    "supportsSetExpression",
    "supportsSetVariable",
    "supportsValueFormattingOptions",
    "supportTerminateDebuggee",
    "supportsTerminateRequest",
    "supportsGotoTargetsRequest",
    "supportsClipboardContext",
    "supportsStepInTargetsRequest",
)
_FILTERS = (
    ("raised", "Raised Exceptions", False),
    ("uncaught", "Uncaught Exceptions", True),
    ("userUnhandled", "User Uncaught Exceptions", False),
)
# What a launch configuration may say about the session itself.
_PASSED_ON = (
    "justMyCode",
    "redirectOutput",
    "showReturnValue",
    "breakOnSystemExit",
    "django",
    "jinja",
)


def capabilities() -> dict[str, Any]:
    """Those of debugpy, which has not been started yet when they are asked for."""
    filters = [
        {"filter": name, "label": label, "default": default}
        for name, label, default in _FILTERS
    ]
    return {**dict.fromkeys(_YES, True), "exceptionBreakpointFilters": filters}


def child_sessions(asked: Mapping[str, Any], client: Mapping[str, Any]) -> bool | None:
    """Whether child processes shall be debugged; None: what the project says. `asked`:
    the editor's `launch` or `attach`, `client`: the arguments of its `initialize`."""
    if not client.get("supportsStartDebuggingRequest"):
        return False  # nobody would attach to them, and they would wait
    return asked.get("subProcess")


def attach_arguments(
    configuration: Mapping[str, Any], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """`configuration` is ours for this debuggee, `asked` the editor's `launch` or
    `attach`."""
    made = {**configuration}
    made.update({key: asked[key] for key in _PASSED_ON if key in asked})
    if "type" in asked:
        made["type"] = asked["type"]  # child sessions come back under the same name
    return made


def ends_debuggee(arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of `disconnect`: who launched a program ends it, if nothing else is said."""
    return {"terminateDebuggee": True, **(arguments or {})}


def response(request: Mapping[str, Any], body: Mapping[str, Any]) -> Message:
    return {
        "type": "response",
        "request_seq": request["seq"],
        "command": request["command"],
        "success": True,
        "body": dict(body),
    }


def refusal(request: Mapping[str, Any], text: str) -> Message:
    return {
        "type": "response",
        "request_seq": request["seq"],
        "command": request["command"],
        "success": False,
        "message": text,
        "body": {"error": {"id": 1, "format": text, "showUser": True}},
    }


def event(name: str, body: Mapping[str, Any] | None = None) -> Message:
    return {"type": "event", "event": name, "body": dict(body or {})}
