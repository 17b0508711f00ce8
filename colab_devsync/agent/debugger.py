"""Starts a program under debugpy, or lets debugpy into a running one. On the VM.

A program of its own: the configured interpreter runs this source with `-c`, because
debugpy must fit that interpreter. Uses the debugpy installed there, else one that pip
put into a private folder. Never imports debugpy itself.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and sys.path and sys.path[0] == "":
    del sys.path[0]  # a project's json.py must not become ours

import importlib.machinery
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import types
from typing import Any, List, Optional, Set

assert sys.platform != "win32"  # runs on the VM only

_LISTEN_S = 20.0  # from the injection to an adapter that listens
_INJECT_S = 60.0
_LISTENING, _ESTABLISHED = "0A", "01"  # as /proc/net/tcp writes it
_LOOK_S = 0.5  # between looks whether the program is alive
_LEAVE_S = 3.0  # for the adapter to end by itself
_REQUIREMENT = "debugpy>=1.8"
LETTING_IN = "COLAB_DEVSYNC_LETTING_IN"  # holds sparing.py and letting_in.py
SPARING = "COLAB_DEVSYNC_SPARING"  # holds sparing.py, if children are left alone


class Unable(Exception):
    """Why there is nothing to debug, for people."""


def main(arguments: List[str]) -> None:
    """`start SUBPROCESSES ENDPOINTS FILE|-m MODULE ...` or `attach PID [RUNS]`."""
    action, rest = arguments[0], arguments[1:]
    try:
        if action == "attach":
            port = attach(int(rest[0]), "".join(rest[1:]))
            sys.stdout.write(json.dumps({"port": port}) + "\n")
        else:
            start(rest[0], rest[1], rest[2:])
    except Unable as exc:
        sys.stderr.write("colab-devsync: %s\n" % exc)
        sys.exit(2)


# --- a program from its beginning -----------------------------------------------------


def start(subprocesses: str, endpoints: str, target: List[str]) -> None:
    """Becomes debugpy, which waits for a client, and writes its port to `endpoints`."""
    target = checked(target)
    folder = debugpy_folder()
    os.environ["DEBUGPY_ADAPTER_ENDPOINTS"] = endpoints
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    command = [sys.executable, "-Xfrozen_modules=off"]
    if SPARING in os.environ:
        command += ["-c", os.environ.pop(SPARING)]
    command += [folder, "--listen", "127.0.0.1:0", "--wait-for-client"]
    command += ["--configure-subProcess", str(subprocesses == "1")]
    if os.path.isdir("/proc/self"):
        watch_adapter(endpoints)
    os.execv(sys.executable, command + target)


def checked(target: List[str]) -> List[str]:
    """The target as debugpy takes it. What Python would find wrong only after somebody
    has attached is said now."""
    if target[0] == "-m":
        name = target[1].partition(".")[0]
        if name in sys.builtin_module_names:
            return target
        path = [os.getcwd(), *sys.path]
        if importlib.machinery.PathFinder.find_spec(name, path) is None:
            raise Unable("no module %s on the VM" % name)
        return target
    path_name = os.path.abspath(target[0])
    if not os.path.exists(path_name):
        raise Unable("no file %s on the VM" % path_name)
    if os.path.isfile(path_name) and not path_name.endswith((".pyc", ".zip", ".pyz")):
        compiles(path_name)
    return [path_name, *target[1:]]


def compiles(path: str) -> None:
    with open(path, "rb") as stream:
        source = stream.read()
    try:
        compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        sys.excepthook(*sys.exc_info())
        sys.exit(1)


# --- debugpy itself -------------------------------------------------------------------


def debugpy_folder() -> str:
    """The interpreter's own, or the private one, which is installed if need be."""
    spec = importlib.util.find_spec("debugpy")
    if spec is not None and spec.origin and spec.submodule_search_locations:
        own = spec.submodule_search_locations[0]
        if os.path.isfile(os.path.join(own, "__main__.py")):
            return own
    private = os.path.join(cache(), "debugpy-%d.%d" % sys.version_info[:2])
    folder = os.path.join(private, "debugpy")
    if not os.path.isfile(os.path.join(folder, "__main__.py")):
        install(private)
    return folder


def cache() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "colab-devsync")


def install(private: str) -> None:
    """The folder is there whole or not at all, however many do this at once."""
    sys.stderr.write("colab-devsync: installing debugpy on the VM, this once\n")
    sys.stderr.flush()
    try:
        os.makedirs(os.path.dirname(private), exist_ok=True)
        part = tempfile.mkdtemp(prefix="debugpy-", dir=os.path.dirname(private))
    except OSError as exc:
        raise Unable("debugpy cannot be installed on the VM: %s" % exc) from exc
    try:
        pip_install(part)
        try:
            os.rename(part, private)
        except OSError as exc:
            if not os.path.isdir(private):  # else somebody was faster
                text = "debugpy cannot be installed on the VM: %s" % exc
                raise Unable(text) from exc
    finally:
        shutil.rmtree(part, ignore_errors=True)


def pip_install(folder: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--target", folder]
    command += ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    # Settings that a user's pip may have and that do not go with --target.
    env = dict(os.environ, PIP_USER="0", PIP_PREFIX="", PIP_ROOT="")
    done = subprocess.run(
        [*command, _REQUIREMENT],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={name: value for name, value in env.items() if value},
        check=False,
    )
    if done.returncode or not os.path.isdir(os.path.join(folder, "debugpy")):
        words = done.stdout.decode("utf-8", "replace").strip().splitlines()
        last = "; ".join(line.strip() for line in words[-3:]) or "pip failed"
        raise Unable("debugpy cannot be installed on the VM: %s" % last)


# --- a program that runs already ------------------------------------------------------


def attach(pid: int, runs: str = "") -> int:
    """The port of 127.0.0.1 at which debugpy now speaks for the process. `runs`: the
    folder of our runs, if it may be one of them."""
    closed = ""
    source = os.environ.pop(LETTING_IN, "")
    hooks: Any = types.ModuleType("letting_in")
    exec(source, vars(hooks))
    if runs:
        try:
            tools = {"is_listening": is_listening, "end_adapter": end_adapter}
            port = hooks.attach(pid, runs, source, find_debugpy=debugpy_folder, **tools)
            if port is not None:
                return int(port)
        except hooks.Failed as exc:
            raise Unable(str(exc)) from None
        except hooks.Closed as exc:
            closed = "%s, and " % exc
    born = check_process(pid)
    try:
        return attach_by_gdb(pid, born)
    except Unable as exc:
        raise Unable(closed + str(exc)) from None


def attach_by_gdb(pid: int, born: str) -> int:
    note = os.path.join(cache(), "attached", "%d-%s" % (pid, born))
    known = noted(note)
    if known is not None:
        return known
    folder = debugpy_folder()
    port = free_port()
    os.makedirs(os.path.dirname(note), exist_ok=True)
    for name in os.listdir(os.path.dirname(note)):
        if not os.path.exists("/proc/" + name.partition("-")[0]):
            os.unlink(os.path.join(os.path.dirname(note), name))
    with open(note, "w", encoding="ascii") as stream:
        stream.write(str(port))
    inject(folder, pid, port)
    deadline = time.monotonic() + _LISTEN_S
    while not is_listening(port):
        if time.monotonic() > deadline:
            raise Unable("process %d did not let the debugger in" % pid)
        time.sleep(0.02)
    return port


def noted(note: str) -> Optional[int]:
    """The port of an earlier attachment; debugpy listens in a process only once."""
    try:
        with open(note, encoding="ascii") as stream:
            port = int(stream.read())
    except (OSError, ValueError):
        return None
    return port if is_listening(port) else None


def check_process(pid: int) -> str:
    """When it was started, which with its number is its identity."""
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        raise Unable("no process %d on the VM" % pid) from None
    try:
        program = os.readlink("/proc/%d/exe" % pid)
        with open("/proc/%d/maps" % pid, "rb") as maps:
            has_python = b"libpython" in maps.read()
    except OSError:
        raise Unable("process %d belongs to another user" % pid) from None
    if "python" not in os.path.basename(program) and not has_python:
        raise Unable("process %d is not a Python program but %s" % (pid, program))
    return fields[19]


def inject(folder: str, pid: int, port: int) -> None:
    by_itself = hasattr(sys, "remote_exec")  # from Python 3.14 on, without gdb
    if not by_itself and shutil.which("gdb") is None:
        raise Unable("attaching to a running program needs gdb on the VM")
    if not by_itself:
        try_gdb(pid)
    command = [sys.executable, folder, "--listen", "127.0.0.1:%d" % port]
    try:
        done = subprocess.run(
            [*command, "--pid", str(pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_INJECT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unable("process %d did not let the debugger in" % pid) from None
    said = done.stdout.decode("utf-8", "replace")
    object_to_ptrace(said, pid)
    if done.returncode:
        words = said.strip().splitlines()
        raise Unable("debugpy did not get into process %d: %s" % (pid, words[-1:]))


def try_gdb(pid: int) -> None:
    """Lets gdb do to a process of ours what it shall do to `pid`. An old gdb on a new
    processor fails halfway ("extended state"), which ends what it was attached to."""
    with subprocess.Popen(["sleep", "60"]) as victim:
        attach = ["gdb", "--nw", "--nh", "--nx", "--batch", "-p", str(victim.pid)]
        try:
            done = subprocess.run(
                [*attach, "--eval-command=call (int)getpid()"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_INJECT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unable("gdb on the VM does not answer") from None
        finally:
            victim.kill()
    said = done.stdout.decode("utf-8", "replace")
    object_to_ptrace(said, pid)
    if "= %d" % victim.pid not in said:
        words = said.strip().splitlines()[-1:]
        raise Unable(
            "gdb on the VM fails in programs that run (%s), and would end process %d; "
            "a newer gdb may not" % ("".join(words), pid)
        )


def object_to_ptrace(said: str, pid: int) -> None:
    if "ptrace: " in said or "Could not attach to process" in said:
        raise Unable("the VM does not allow debugging process %d (ptrace)" % pid)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """Looked up, not tried: a connection would count as a debugger that attached."""
    return _LISTENING in states(port)


def states(port: int) -> Set[str]:
    """Of all connections of this port of 127.0.0.1."""
    address = "0100007F:%04X" % port
    with open("/proc/net/tcp", encoding="ascii") as stream:
        rows = [line.split() for line in stream]
    return {row[3] for row in rows if row[1] == address}


# --- when all is over -----------------------------------------------------------------


def watch_adapter(endpoints: str) -> None:
    """Leaves a process behind that sees to it that debugpy's adapter ends with the
    program: it is a process of its own, and waits for ever for a program that was
    killed before it had called it."""
    program = os.getpid()
    if os.fork():
        os.wait()
        return
    os.setsid()  # a stop of the program's group is none of its business
    if os.fork():
        os._exit(0)
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        while is_alive(program):
            time.sleep(_LOOK_S)
        if not adapter_leaves(endpoints):
            end_adapter(endpoints)
    finally:
        os._exit(0)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs as somebody else now
    return True


def adapter_leaves(endpoints: str) -> bool:
    """Its file goes with it. A client may still be reading the last messages."""
    until = time.monotonic() + _LEAVE_S
    while os.path.exists(endpoints):
        now = time.monotonic()
        if now > until:
            return False
        if _ESTABLISHED in states(port_of(endpoints)):
            until = now + _LEAVE_S
        time.sleep(_LOOK_S)
    return True


def port_of(endpoints: str) -> int:
    try:
        with open(endpoints, encoding="utf-8") as stream:
            return int(json.load(stream)["client"]["port"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def end_adapter(endpoints: str) -> None:
    mark = b"DEBUGPY_ADAPTER_ENDPOINTS=" + os.fsencode(endpoints)
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/environ" % name, "rb") as stream:
                is_its = mark in stream.read().split(b"\0")
            with open("/proc/%s/cmdline" % name, "rb") as stream:
                is_adapter = b"adapter\0--for-server" in stream.read()
            if is_its and is_adapter:
                os.kill(int(name), signal.SIGTERM)
        except OSError:
            continue  # not ours, or gone


if __name__ == "__main__":
    main(sys.argv[1:])
