"""Tells a client which files in some folders are finished, for as long as it listens.

The kernel says where to look (inotify); a walk now and then finds what it does not
tell, and is all there is where it tells nothing. Only changes are sent.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from typing import Any, BinaryIO, Callable, Dict, List, Optional, Set, Tuple

assert sys.platform != "win32"  # runs on the VM only

from . import inotify, wire
from .pulling_folder import Folder, Look, Selection

_WALK_S = 60.0  # between walks where the kernel tells
_GATHER_S = 0.005  # events that come together are looked at together
_LONG_S = 3600.0
_AGAIN_S, _TRIES = 0.02, 10  # while files are finished that very moment

Send = Callable[[wire.Meta, bytes], None]


def watch(
    meta: wire.Meta,
    root: str,
    reader: BinaryIO,
    send: Send,
    hang_up: Callable[[], None],
) -> None:
    """Serves one stream until either side hangs up."""
    watching = Watching(meta["rules"], root, send, hang_up)
    thread = threading.Thread(
        target=watching.run, name="devsync-pull-watch", daemon=True
    )
    thread.start()
    try:
        for frame in iter(lambda: wire.read_frame(reader), None):
            watching.order(int(frame.meta["number"]))
    finally:
        watching.close()
        thread.join()
        watching.free()


class _Rule:
    def __init__(self, order: Dict[str, Any], root: str) -> None:
        path = os.path.normpath(os.path.join(root, order["folder"]))
        select, skip = Selection(order["select"]), Selection(order["skip"])
        self.folder = Folder(path, float(order["every"]), select, skip)
        self.touched: Set[str] = set()
        self.needs_walk = True
        self.walked_at = self.looked_at = 0.0
        self.is_told = False  # the kernel tells of all its folders
        self.last: Optional[Tuple[str, str, int, List[str]]] = None

    def pause_s(self, now: float) -> float:
        """Until it must be looked at again."""
        if self.needs_walk or self.touched:
            return 0.0
        again = self.folder.due()
        due = min(self.walk_due(), self.looked_at + self.folder.every_s)
        return max(0.0, (due if again is None else min(due, again)) - now)

    def walk_due(self) -> float:
        every = self.folder.every_s
        return self.walked_at + (max(_WALK_S, every) if self.is_told else every)


class Watching:
    """`run` is a thread's; `order`, `close` may be called from another."""

    def __init__(
        self,
        orders: List[Dict[str, Any]],
        root: str,
        send: Send,
        hang_up: Callable[[], None],
    ) -> None:
        self._send = send
        self._hang_up = hang_up
        self._rules = [_Rule(order, root) for order in orders]
        self._wake, self._wakened = os.pipe()
        self._orders: List[int] = []
        self._lock = threading.Lock()  # of the orders
        self._is_closed = False
        self._tries = 0  # to answer the orders
        self._watches: Dict[int, Tuple[_Rule, str]] = {}
        self._inotify: Optional[inotify.Inotify] = None
        try:
            self._inotify = inotify.Inotify()
        except OSError:
            pass  # then we look ourselves

    def order(self, number: int) -> None:
        """Look everywhere now; "looked" with the number says that it was done."""
        with self._lock:
            self._orders.append(number)
        os.write(self._wakened, b"x")

    def close(self) -> None:
        self._is_closed = True
        os.write(self._wakened, b"x")

    def free(self) -> None:
        """After `run` has ended."""
        os.close(self._wake)
        os.close(self._wakened)
        if self._inotify is not None:
            self._inotify.close()

    # --- its thread ---------------------------------------------------------------

    def run(self) -> None:
        """Until it is closed, the client has gone, or something is wrong with us."""
        try:
            while not self._is_closed:
                self._look()
                self._wait()
        finally:
            self._hang_up()

    def _wait(self) -> None:
        now = time.monotonic()
        pause = min([rule.pause_s(now) for rule in self._rules] or [_LONG_S])
        if self._orders:
            pause = min(pause, _AGAIN_S)
        ends = [self._wake]
        if self._inotify is not None:
            ends.append(self._inotify.fd)
        ready = select.select(ends, [], [], pause)[0]
        if self._wake in ready:
            os.read(self._wake, 4096)
        if self._inotify is not None and self._inotify.fd in ready:
            time.sleep(_GATHER_S)
            self._hear(self._inotify)

    def _hear(self, news: inotify.Inotify) -> None:
        for one in news.read():
            if one.mask & inotify.OVERFLOW:
                for rule in self._rules:
                    rule.needs_walk = True
                continue
            if one.watch not in self._watches:
                continue
            rule, folder = self._watches[one.watch]
            if one.mask & inotify.IGNORED:
                self._forget(one.watch)
            elif one.mask & (inotify.DELETE_SELF | inotify.MOVE_SELF | inotify.ISDIR):
                rule.needs_walk = True
            elif rule.folder.takes(folder, one.name, False):
                rule.touched.add(folder + "/" + one.name if folder else one.name)

    def _look(self) -> None:
        with self._lock:
            orders, self._orders = self._orders, []
        self._tries = self._tries + 1 if orders else 0
        now = time.monotonic()
        for number, rule in enumerate(self._rules):
            if orders or rule.needs_walk or rule.pause_s(now) <= 0:
                self._look_at(number, rule, now, bool(orders))
        if any(rule.folder.is_young for rule in self._rules) and self._tries < _TRIES:
            with self._lock:  # it is not all that is finished
                self._orders = orders + self._orders
            return
        if orders:
            self._tries = 0
        for order in orders:
            self._send({"op": "looked", "number": order}, b"")

    def _look_at(self, number: int, rule: _Rule, now: float, is_ordered: bool) -> None:
        is_due = now >= rule.walk_due()
        is_absent = rule.last is not None and rule.last[:2] != ("watching", "")
        touched, rule.touched = rule.touched, set()
        rule.looked_at = now
        rule.needs_walk = rule.needs_walk or rule.folder.is_replaced()
        if rule.needs_walk or is_due or is_ordered or is_absent:
            rule.needs_walk = False
            rule.walked_at = now
            look = rule.folder.look_everywhere()
            self._tell(number, rule, look)
            if self._watch_all(rule):
                # What was made before its folder was watched.
                self._tell(number, rule, rule.folder.look_everywhere())
        elif touched:  # and what waits: news may come faster than files come of age
            self._tell(number, rule, rule.folder.look_at(touched | rule.folder.pending))
        else:
            self._tell(number, rule, rule.folder.look_again())

    def _tell(self, number: int, rule: _Rule, look: Look) -> None:
        about = (look.state, look.message, look.writing, look.links[:20])
        if not look.files and not look.gone and about == rule.last:
            return
        rule.last = about
        meta: wire.Meta = {"op": "look", "rule": number, "now": time.time()}
        meta.update(state=look.state, message=look.message, writing=look.writing)
        meta["links"] = about[3]
        body = {"files": look.files, "gone": look.gone}
        data, meta["z"] = wire.deflate(json.dumps(body).encode("ascii"))
        self._send(meta, data)

    # --- what the kernel watches --------------------------------------------------

    def _watch_all(self, rule: _Rule) -> bool:
        """Watches every folder of a rule; whether one is new."""
        if self._inotify is None:
            return False
        is_new = False
        rule.is_told = bool(rule.folder.folders)
        for folder in rule.folder.folders:
            try:
                watch = self._inotify.add(os.path.join(rule.folder.path, folder))
            except OSError:  # gone again, or more than the system allows
                rule.is_told = False
                continue
            held = self._watches.get(watch)
            if held is not None and held[0] is not rule:
                rule.is_told = False  # another rule has it: we look ourselves
                continue
            is_new = is_new or held is None
            self._watches[watch] = (rule, folder)  # it may have another name now
        return is_new

    def _forget(self, watch: int) -> None:
        self._watches.pop(watch, None)
