"""What was measured, as values, and the table made from them."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """One cell: `who` did `row` at `rtt_ms`. `limit` is what it must not exceed."""

    row: str
    who: str
    rtt_ms: int
    value: float
    unit: str
    limit: float | None = None
    note: str = ""

    @property
    def ok(self) -> bool | None:
        return None if self.limit is None else self.value <= self.limit


@dataclass(frozen=True)
class Failure:
    """A row that could not be measured, and why."""

    row: str
    rtt_ms: int
    reason: str


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def shown(value: float, unit: str) -> str:
    if unit in ("ms", "bytes"):
        return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
    return f"{value:.2f}"


def line(result: Result) -> str:
    """One line for the terminal while rows are being measured."""
    limit = "" if result.limit is None else f" (at most {_limit(result)})"
    mark = {True: "ok", False: "OVER", None: ""}[result.ok]
    what = f"{result.row}, {result.who}, RTT {result.rtt_ms} ms"
    return f"{what}: {shown(result.value, result.unit)} {result.unit}{limit} {mark}"


def markdown(results: Sequence[Result], failures: Sequence[Failure]) -> str:
    """A table: a line for each row, who and unit; a column for each RTT."""
    rtts = sorted({one.rtt_ms for one in results})
    head = ["measure", "who", "unit", *(f"RTT {rtt} ms" for rtt in rtts)]
    head += ["target", "", "note"]
    lines = [_row(head), _row(["---"] * len(head))]
    for row, who, unit in dict.fromkeys((r.row, r.who, r.unit) for r in results):
        cells = [r for r in results if (r.row, r.who, r.unit) == (row, who, unit)]
        lines.append(_row(_cells(cells, rtts)))
    text = "\n".join([f"Measured on {_machine()}; medians.", "", *lines, ""])
    for failure in failures:
        text += f"\nnot measured: {failure.row} at RTT {failure.rtt_ms} ms: "
        text += f"{failure.reason}\n"
    return text


def write(
    folder: Path, results: Sequence[Result], failures: Sequence[Failure]
) -> list[Path]:
    """`latest.md` for people, `latest.json` for comparing; the written files."""
    folder.mkdir(parents=True, exist_ok=True)
    table, data = folder / "latest.md", folder / "latest.json"
    table.write_text(markdown(results, failures), encoding="utf-8")
    body = {
        "machine": _machine(),
        "results": [{**asdict(one), "ok": one.ok} for one in results],
        "failures": [asdict(one) for one in failures],
    }
    data.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    return [table, data]


def _cells(cells: Sequence[Result], rtts: Sequence[int]) -> list[str]:
    first = cells[0]
    values = {one.rtt_ms: shown(one.value, one.unit) for one in cells}
    limits = [_limit(one) for one in cells if one.limit is not None]
    marks = [one.ok for one in cells if one.ok is not None]
    verdict = "" if not marks else ("ok" if all(marks) else "**over**")
    notes = "; ".join(dict.fromkeys(one.note for one in cells if one.note))
    columns = [values.get(rtt, "") for rtt in rtts]
    target = f"≤ {' / '.join(dict.fromkeys(limits))}" if limits else ""
    return [first.row, first.who, first.unit, *columns, target, verdict, notes]


def _limit(result: Result) -> str:
    return "" if result.limit is None else shown(result.limit, result.unit)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _machine() -> str:
    return (
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )
