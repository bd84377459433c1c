"""One writer at a time, with the operating system's locks and without them."""

import json
import os
import socket
import subprocess
import sys

import pytest

from rfo.errors import RunError
from rfo.training import lock as locks
from rfo.training.lock import Lock, alive, started

HOLD = """
import sys, pathlib
from rfo.training import lock
if sys.argv[2] == "file":
    lock.fcntl = None
held = lock.Lock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["system", "file"])
def kind(request, monkeypatch):
    """With `flock`, and on a system that has none."""
    if request.param == "file":
        monkeypatch.setattr(locks, "fcntl", None)
    return request.param


@pytest.fixture
def holder(kind, tmp_path):
    """Another process that holds the lock of a folder."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / ".lock"), kind]
    with subprocess.Popen(words, stdin=-1, stdout=-1) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_writer_is_refused_by_the_owners_name(holder, tmp_path):
    with pytest.raises(RunError) as error:
        Lock(tmp_path / ".lock")
    who = f"process {holder.pid} on {socket.gethostname()}"
    assert f"{tmp_path} is being written by {who}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_killed_owners_lock_is_taken_over(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == holder.pid  # it had no time
    Lock(tmp_path / ".lock").release()


def test_a_released_lock_is_free_and_a_forgotten_one_too(kind, tmp_path):
    held = Lock(tmp_path / ".lock")
    with pytest.raises(RunError, match=f"process {os.getpid()}"):
        Lock(tmp_path / ".lock")
    held.release()
    held.release()  # once more does nothing
    forgotten = Lock(tmp_path / ".lock")
    del forgotten
    Lock(tmp_path / ".lock").release()


def test_a_file_system_without_locks_falls_back_to_the_file(monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    held = Lock(tmp_path / ".lock")
    with pytest.raises(RunError, match=f"process {os.getpid()}"):
        Lock(tmp_path / ".lock")
    held.release()
    Lock(tmp_path / ".lock").release()
    assert not (tmp_path / ".lock.guard").exists()


def test_another_takeover_at_the_same_time_is_refused_and_a_crashed_one_is_not(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(locks, "fcntl", None)
    guard = tmp_path / ".lock.guard"
    guard.mkdir()
    with pytest.raises(RunError, match="by another process"):
        Lock(tmp_path / ".lock")
    os.utime(guard, (0, 0))
    Lock(tmp_path / ".lock").release()


def test_an_owner_lives_by_its_start_and_not_by_its_number_alone(monkeypatch):
    me = {"pid": os.getpid(), "host": socket.gethostname(), "started": started(os.getpid())}
    assert me["started"] is not None and alive(me)
    assert not alive({**me, "started": "before the last boot"})
    assert alive({**me, "host": "elsewhere"})  # it cannot be asked
    for nonsense in (0, -1, "1", None, True):
        assert not alive({**me, "pid": nonsense})


def test_the_start_of_a_process_is_found_without_proc(monkeypatch):
    """As on macOS."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as other:
        here = started(os.getpid()), started(other.pid)
        monkeypatch.setattr(locks, "Path", lambda _: (_ for _ in ()).throw(OSError))
        if locks.subprocess.run(["sh", "-c", "command -v ps"], capture_output=True).returncode:
            assert started(os.getpid()) is None  # the number has to do
        else:
            assert started(os.getpid()) == started(os.getpid()) != None  # noqa: E711
        assert here[0] != here[1]
        other.communicate(b"\n")
