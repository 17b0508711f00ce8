"""How other tools bring one saved file, or a whole tree, to the same machine.

Each is used the way its manual suggests for this job. One that is not installed is
named by `missing()` and left out of the table.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko

from .target import Master, Target

Save = Callable[[Path], None]
"""Brings one file of the project over; returns when that is known to be done."""

TIMEOUT_S = 120


@dataclass(frozen=True)
class Saver:
    """A way to send one saved file. `open` gives a ready `Save` and cleans up."""

    name: str
    programs: tuple[str, ...]
    open: Callable[[Target, Path], AbstractContextManager[Save]]
    note: str = ""

    def missing(self) -> list[str]:
        return [one for one in self.programs if shutil.which(one) is None]


def run(argv: list[str], cwd: Path | None = None) -> None:
    subprocess.run(argv, check=True, cwd=cwd, timeout=600, stdout=subprocess.DEVNULL)


@contextmanager
def rsync_fresh(target: Target, project: Path) -> Iterator[Save]:
    def save(path: Path) -> None:
        name = path.relative_to(project).as_posix()
        run(["rsync", "-aR", "-e", target.shell(), name, target.place()], project)

    yield save


@contextmanager
def rsync_master(target: Target, project: Path) -> Iterator[Save]:
    with opened_master(target) as mastered, rsync_fresh(mastered, project) as save:
        yield save


@contextmanager
def scp_master(target: Target, project: Path) -> Iterator[Save]:
    with opened_master(target) as mastered:

        def save(path: Path) -> None:
            name = path.relative_to(project).as_posix()
            run([*mastered.scp(), str(path), mastered.place(name)])

        yield save


@contextmanager
def paramiko_sftp(target: Target, project: Path) -> Iterator[Save]:
    client = paramiko.SSHClient()
    client.load_host_keys(str(target.known_hosts))
    client.connect(
        target.host,
        port=target.port,
        username=target.user,
        key_filename=str(target.key),
        look_for_keys=False,
        allow_agent=False,
    )
    try:
        sftp = client.open_sftp()

        def save(path: Path) -> None:
            sftp.put(str(path), str(target.root / path.relative_to(project)))

        yield save
    finally:
        client.close()


@contextmanager
def unison(target: Target, project: Path) -> Iterator[Save]:
    with ExitStack() as stack:
        mastered = stack.enter_context(opened_master(target))
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        remote = f"ssh://{target.user}@{target.host}:{target.port}/{target.root}"
        argv = ["unison", str(project), remote, "-batch", "-auto", "-silent"]
        argv += ["-confirmbigdel=false", "-times", "-prefer", str(project)]
        argv += ["-sshargs", " ".join(mastered.options())]
        environment = {**os.environ, "UNISON": str(home)}

        def unite(*extra: str) -> None:
            subprocess.run(
                [*argv, *extra],
                check=True,
                timeout=TIMEOUT_S,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

        unite()
        yield lambda path: unite("-path", path.relative_to(project).as_posix())


_LSYNCD = """
settings {{ nodaemon = true, logfile = "{folder}/log", statusFile = "{folder}/status",
           insist = true, maxDelays = 1 }}
sync {{ default.rsync, source = "{project}/", target = "{place}/", delay = 0,
       rsync = {{ archive = true, rsh = "{shell}" }} }}
"""


@contextmanager
def lsyncd(target: Target, project: Path) -> Iterator[Save]:
    """Seen to be done when the bytes stand on the other side: no acknowledgement."""
    with ExitStack() as stack:
        mastered = stack.enter_context(opened_master(target))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "config").write_text(
            _LSYNCD.format(
                folder=folder,
                project=project,
                place=target.place(),
                shell=mastered.shell(),
            )
        )
        process = subprocess.Popen(
            ["lsyncd", str(folder / "config")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(process.wait, 10)
        stack.callback(process.terminate)
        marker = project / "lsyncd-is-up"
        marker.write_bytes(b"yes")
        wait_for_bytes(target.root / marker.name, b"yes")
        yield lambda path: wait_for_bytes(
            target.root / path.relative_to(project), path.read_bytes()
        )


SAVERS = (
    Saver("rsync, fresh ssh", ("rsync", "ssh"), rsync_fresh),
    Saver("rsync, ControlMaster", ("rsync", "ssh"), rsync_master),
    Saver("scp, ControlMaster", ("scp", "ssh"), scp_master),
    Saver("paramiko sftp.put", (), paramiko_sftp, "truncates in place"),
    Saver("lsyncd, delay 0", ("lsyncd", "rsync"), lsyncd, "seen, not acknowledged"),
    Saver("unison, ControlMaster", ("unison", "ssh"), unison),
)


def rsync_tree(target: Target, tree: Path) -> None:
    argv = ["rsync", "-az", "-e", target.shell(), f"{tree}/", target.place()]
    run(argv)


def tar_zstd_tree(target: Target, tree: Path) -> None:
    inner = f"mkdir -p {target.root} && zstd -d -q | tar -x -C {target.root}"
    send = f'tar -c -C "$1" . | zstd -1 -q | {target.shell()} {target.host} "$2"'
    run(["sh", "-c", send, "sh", str(tree), inner])


def scp_tree(target: Target, tree: Path) -> None:
    target.root.mkdir(parents=True, exist_ok=True)
    run([*target.scp(), "-r", f"{tree}/.", target.place()])


def rsync_file(target: Target, path: Path) -> None:
    """With `-z` and the delta algorithm, which is rsync's best over a network."""
    run(["rsync", "-az", "-e", target.shell(), str(path), target.place()])


@contextmanager
def opened_master(target: Target) -> Iterator[Target]:
    # Short: a Unix socket's path may not be longer than about 100 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="cm") as folder,
        Master(target, Path(folder)) as mastered,
    ):
        yield mastered


def wait_for_bytes(path: Path, wanted: bytes) -> None:
    """Looks every 2 ms. TimeoutError after two minutes."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        try:
            if path.read_bytes() == wanted:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.002)
    raise TimeoutError(f"{path} did not arrive")
