"""`python -m bench`: measures the rows, prints them as they come, writes the table."""

from __future__ import annotations

import argparse
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from .competitors import SAVERS
from .gate import gate
from .report import Failure, Result, line, write
from .rows import (
    Effort,
    Row,
    connecting,
    daemon_costs,
    forwards,
    large_file,
    outage,
    programs,
    pulls,
    pushes,
    saves,
    whole_tree,
)
from .world import World

RESULTS = Path(__file__).parent / "results"

ROWS = (
    Row("save", saves.one_save),
    Row("burst", saves.burst),
    Row("other-tool", saves.other_tool),
    Row("connect", connecting.direct),
    Row("connect-colab", connecting.over_colab),
    Row("connect-relay", connecting.over_relay),
    Row("no-change", whole_tree.no_change),
    Row("initial", whole_tree.initial),
    Row("large-file", large_file.one_line, at=(0, 50)),
    Row("per-save", daemon_costs.per_save, at=(0,)),
    Row("idle", daemon_costs.idle, at=(0,)),
    Row("memory", daemon_costs.memory, at=(0,)),
    Row("start-up", daemon_costs.start_up, at=(0,)),
    Row("forward-echo", forwards.echo, at=(0, 50)),
    Row("forward-download", forwards.download, at=(50,)),
    Row("forward-save", forwards.save_during, at=(0, 50)),
    Row("pull", pulls.speed),
    Row("pull-huge", pulls.huge, at=(0,)),
    Row("pull-resumed", pulls.resumed, at=(50,)),
    Row("pull-tail", pulls.tail, at=(0,)),
    Row("pull-ready", pulls.ready, at=(0, 50)),
    Row("pull-many", pulls.many, at=(0, 50)),
    Row("pull-save", pulls.save_during, at=(50, 150)),
    Row("push", pushes.speed),
    Row("push-resumed", pushes.resumed, at=(50,)),
    Row("push-save", pushes.save_during, at=(50, 150)),
    Row("run", programs.first_line),
    Row("attach", programs.reattach),
    Row("flood", programs.save_during_flood, at=(0, 50)),
    Row("debug", programs.debugger),
    Row("outage", outage.silent_drop, at=(100,)),
)


def main() -> int:
    options = _parser().parse_args()
    _name_the_missing()
    with World() as world:
        if options.gate:
            return gate(world)
        return _table(world, options)


def _table(world: World, options: argparse.Namespace) -> int:
    effort = Effort(repeats=5, scale=0.1) if options.quick else Effort()
    wanted = [row for row in ROWS if not options.only or row.name in options.only]
    results: list[Result] = []
    failures: list[Failure] = []
    for row in wanted:
        for rtt_ms in row.at or options.rtt:
            try:
                for result in row.measure(world, rtt_ms, effort):
                    results.append(result)
                    print(line(result), flush=True)
            # One row that fails must not cost the others; the table names it.
            except Exception as error:  # noqa: BLE001
                traceback.print_exc()
                failures.append(Failure(row.name, rtt_ms, repr(error)))
    for path in write(RESULTS, results, failures):
        print(f"written: {path}")
    over = [one for one in results if one.ok is False]
    print(f"{len(results)} measured, {len(over)} over target, {len(failures)} failed")
    return 1 if failures else 0


def _name_the_missing() -> None:
    needed: Sequence[tuple[str, list[str]]] = [
        ("initial", [p for p in ("rsync", "zstd") if shutil.which(p) is None]),
        *((saver.name, saver.missing()) for saver in SAVERS),
    ]
    for name, missing in needed:
        if missing:
            print(f"left out: {name} (not installed: {', '.join(missing)})")


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = ", ".join(_names())
    parser.add_argument(
        "--only", action="append", metavar="ROW", choices=list(_names()), help=names
    )
    parser.add_argument(
        "--rtt",
        type=_numbers,
        default=[0, 50, 200],
        metavar="MS[,MS]",
        help="round-trip times; default 0,50,200",
    )
    parser.add_argument("--quick", action="store_true", help="small trees, few repeats")
    parser.add_argument(
        "--gate", action="store_true", help="round trips, bytes and memory; 1 when over"
    )
    return parser


def _names() -> Iterator[str]:
    return (row.name for row in ROWS)


if __name__ == "__main__":
    sys.exit(main())
