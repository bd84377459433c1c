"""One writer at a time in a run folder.

The lock is a file that names its owner. The operating system holds it (`flock`) and releases it
when the owner ends, for whatever reason. If a system or a file system has no such locks, the file
itself is the lock, and it counts as long as its owner's process lives.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rfo.errors import RunError

try:
    import fcntl
except ImportError:  # there is none on Windows
    fcntl = None

HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""What `flock` answers when another process holds the lock."""
GUARD_SECONDS = 60.0
"""Age from which the guard of a takeover is one that a crash left behind [s]."""


class Lock:
    """A lock on a folder, held from its construction until `release` or the end of the process.

    Args:
        path: the lock file, inside the folder.

    Raises:
        RunError: if another process holds it; the line names that process.
        OSError: if the file cannot be written.
    """

    def __init__(self, path: Path):
        self._descriptor: int | None = None
        self._pid = os.getpid()
        no_links = getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | no_links, 0o666)
        try:
            if _flock(path, descriptor):
                _write(descriptor, _this_process())
            else:
                _claim(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next writer in."""
        if self._descriptor is None:
            return
        if os.getpid() == self._pid:  # not in a process that was forked off the owner
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)  # so that it names nobody
        os.close(self._descriptor)
        self._descriptor = None

    def __del__(self) -> None:
        self.release()


def _flock(path: Path, descriptor: int) -> bool:
    """Lock the open file; False where there are no such locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            raise _refusal(path, _owner(descriptor)) from None
        return False
    return True


def _claim(path: Path, descriptor: int) -> None:
    """Write this process into the file, unless the file names a process that is alive."""
    guard = path.with_name(f"{path.name}.guard")
    with suppress(FileNotFoundError):
        if time.time() - guard.stat().st_mtime > GUARD_SECONDS:
            guard.rmdir()
    try:
        guard.mkdir()  # one process at a time reads and writes the file
    except FileExistsError:
        raise _refusal(path, {}) from None
    try:
        owner = _owner(descriptor)
        if owner and alive(owner):
            raise _refusal(path, owner)
        _write(descriptor, _this_process())
    finally:
        guard.rmdir()


def alive(owner: dict[str, Any]) -> bool:
    """Whether a lock's owner may still run. One on another machine may: it cannot be asked."""
    if owner.get("host") != socket.gethostname():
        return True
    pid = owner.get("pid")
    if type(pid) is not int or pid < 1:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        return True
    return owner.get("started") == started(pid)  # else another process has got its number


def started(pid: int) -> str | None:
    """When a process started, in whatever form the system tells it; None if it does not."""
    with suppress(OSError, IndexError):
        # the name, in parentheses, may hold spaces; the start is the 22nd field, by proc(5)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    command = ["ps", "-o", "lstart=", "-p", str(pid)]  # macOS
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return answer.stdout.strip() or None
    return None


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "started": started(pid)}


def _write(descriptor: int, owner: dict[str, Any]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(owner).encode() + b"\n", 0)


def _owner(descriptor: int) -> dict[str, Any]:
    """What the file says, empty if it names nobody."""
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _refusal(path: Path, owner: dict[str, Any]) -> RunError:
    who = f"process {owner['pid']} on {owner.get('host')}" if "pid" in owner else "another process"
    line = f"{path.parent} is being written by {who}: wait until it ends, or stop it first"
    if owner and owner.get("host") != socket.gethostname():
        line += f"; if it is gone, remove {path}"
    return RunError(line)
