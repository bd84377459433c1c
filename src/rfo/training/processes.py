"""Several processes in one training, on one machine or many: one leads, the others follow.

Every process runs the same program on its own devices and holds its share of the environments
(`rfo.training.devices`); JAX carries the sums between them. Process 0 leads: it alone shows
progress, evaluates, and writes the run folder. What a follower writes goes to a temporary folder.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

from rfo.errors import RunError, SettingError

PLACE = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
"""Environment variables that tell a process where it belongs, where no scheduler does."""
STATUS = r"[A-Z_]+: "
"""How the messages of JAX's runtime begin, as in ``UNKNOWN: Gloo AllGather failed``."""
LEFT_OUT = ("replay.*", "ends", ".lock")
"""What a follower does not need of a run folder."""


def together(work: Callable[[], int]) -> int:
    """Join the other processes and work with them; a follower is silent but for its errors.

    A process that fails ends at once: JAX would make it wait for the others, which wait for it.

    Returns:
        the status of `work`.

    Raises:
        SettingError: if nothing tells where this process belongs, or the others do not come.
    """
    join()
    try:
        with contextlib.nullcontext() if leads() else _silence():
            return work()
    except (SettingError, RunError, OSError) as error:
        print(f"rfo: process {jax.process_index()}: {error}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(2 if isinstance(error, SettingError) else 1)


def join() -> None:
    """Join the processes that a scheduler started (Slurm, MPI), or that `PLACE` describes.

    Raises:
        SettingError: if nothing tells where this process belongs, or the others do not come.
    """
    address, count, index = (os.environ.get(name) for name in PLACE)
    try:
        if address is None:
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(address, _whole(PLACE[1], count), _whole(PLACE[2], index))
    except (ValueError, RuntimeError) as error:
        raise SettingError(
            "cannot join the other processes: start rfo with srun or mpirun, or set "
            f"{', '.join(PLACE)} in each ({' '.join(str(error).split())[:200]})"
        ) from None


def part() -> None:
    """Leave the other processes, when all have come to the end of a training."""
    if several():
        jax.distributed.shutdown()


def several() -> bool:
    """Whether this process trains with others."""
    return jax.process_count() > 1


def leads() -> bool:
    """Whether this process writes and shows what all of them do."""
    return jax.process_index() == 0


def shared_devices(count: int) -> int:
    """Devices of all processes, where a user asked for no more than one."""
    return len(jax.devices()) if count == 1 else count


def any_says(flag: bool) -> bool:
    """Whether a flag is set in any process. All must ask at the same place."""
    if not several():
        return flag
    from jax.experimental.multihost_utils import process_allgather

    return bool(np.any(process_allgather(np.asarray(flag))))


def own_place(path: Path) -> Path:
    """Where this process makes a new run folder: a follower in a temporary one."""
    return path if leads() else _temporary() / path.name


def own_copy(path: Path) -> Path:
    """The run folder that this process goes on with: a follower copies it, and all wait for that.

    Raises:
        RunError: if a follower cannot see the run folder.
    """
    if not several():
        return path
    from jax.experimental.multihost_utils import sync_global_devices

    place = path
    if not leads():
        if not path.is_dir():
            raise RunError(f"no run folder {path}: all processes must see the same disk")
        place = _temporary() / path.name
        shutil.copytree(path, place, ignore=shutil.ignore_patterns(*LEFT_OUT))
    sync_global_devices("run folders are copied")
    return place


@contextlib.contextmanager
def watched(path: Path) -> Iterator[None]:
    """Say in one line that another process is gone, in place of what JAX raises for it.

    Raises:
        RunError: if the others do not answer.
    """
    try:
        yield
    except (ValueError, jax.errors.JaxRuntimeError) as error:
        if not (several() and re.match(STATUS, str(error))):
            raise
        raise RunError(
            "another process of this training is gone; checkpoints are intact: go on with "
            f"`rfo train --resume {path} --distributed` in all of them"
        ) from error


def _whole(name: str, value: str | None) -> int:
    if value is None or not value.isdecimal():
        raise ValueError(f"{name} must be a whole number, not {value}")
    return int(value)


def _temporary() -> Path:
    folder = tempfile.mkdtemp(prefix="rfo-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
        yield
