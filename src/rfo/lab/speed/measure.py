"""Speed of tasks on one core and on all cores; each measurement runs in its own process.

A measurement on one core keeps the whole process on that core, including the threads of XLA and of
the physics. Where the system cannot do that, only all cores are measured.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rfo.errors import RunError
from rfo.experiment.catalogue import find_task
from rfo.lab.cores import usable_cores
from rfo.lab.speed import mjx, peer, worker
from rfo.training.provenance import provenance

HORIZON = 32
"""Control steps of a physics rollout."""
SECONDS = 3.0
"""Time for which a measurement is repeated [s]."""
LARGER_BATCHES = (256, 1024)
"""Numbers of environments for the physics, in addition to the task's own number."""
PEER_TASK, PEER_BATCH = "ant", 256
"""Task that is compared with Brax, and Brax's number of environments."""
MJX_TASKS, MJX_BATCH = ("go2_velocity", "g1_velocity"), 64
"""Tasks whose files MJX simulates too, and its number of environments."""
MJX_MINUTES = 10
"""Time after which a measurement of MJX is given up, compilation included."""
REWARPED = {
    "ant": (360.0, 64),
    "humanoid": (179.0, 64),
    "hand_reorient": (3.4, 64),
    "cartpole": (7000.0, 64),
    "soft_jumper": (67.0, 32),
}
"""Rewarped 1.3.3's env-steps/s and number of environments (warp-lang 1.3.3, 32 steps, forward and
backward). They were recorded once on a CPU with four cores, of which Rewarped uses one. They are
quoted for scale and never measured here."""


def measure(
    tasks: Sequence[str],
    algorithm: str,
    cores: int | None = None,
    peer_python: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure tasks on one core and on several.

    Args:
        tasks: names of tasks.
        algorithm: method of the trainings.
        cores: number of cores of the second measurement; by default all that this process may use.
        peer_python: an interpreter that has Brax and MJX; by default the running one.
        tell: function that is called with a line before each measurement.

    Returns:
        Data for JSON: `physics_env_steps_per_s` and `train_env_steps_per_s` of the first task on
        `threads` cores, `tasks` with all rates, `peer` (Brax), `mjx` by task, `quoted`, and facts
        about the `machine`.

    Raises:
        RunError: if a measurement fails.
    """
    allowed = usable_cores()
    counts = core_counts(len(allowed), cores)
    load = os.getloadavg()[0]
    results: dict[str, dict[str, Any]] = {}
    beside: dict[str, dict[str, Any]] = {}
    for task in tasks:
        results[task] = {}
        for count in counts:
            cores_given = allowed[-count:]
            tell(f"measuring {task} on {count} of {len(allowed)} cores")
            measured = _task(task, algorithm, cores_given)
            file = measured.pop("mjcf")
            results[task][str(count)] = measured
            if task in MJX_TASKS:
                tell(f"measuring MJX on the file of {task} (it compiles for minutes)")
                beside.setdefault(task, {})[str(count)] = _mjx(file, cores_given, peer_python)
    first = results[tasks[0]][str(counts[-1])]
    return {
        "physics_env_steps_per_s": first["physics"][0]["env_steps_per_s"],
        "train_env_steps_per_s": first["train"]["env_steps_per_s"],
        "threads": counts[-1],
        "algorithm": algorithm,
        "horizon": HORIZON,
        "tasks": results,
        "mjx": beside,
        "peer": _peer(counts, allowed, peer_python, tell) if PEER_TASK in tasks else None,
        "quoted": {
            f"Rewarped 1.3.3, {task}": dict(
                zip(("env_steps_per_s", "environments"), REWARPED[task], strict=True)
            )
            for task in tasks
            if task in REWARPED
        },
        "machine": {"cpu": cpu_name(), "load_at_start": load, **provenance()},
    }


def core_counts(usable: int, cores: int | None = None) -> list[int]:
    """Numbers of cores to measure: one and `cores`, or all if a process cannot be limited."""
    if not hasattr(os, "sched_setaffinity"):
        return [usable]
    return sorted({1, min(cores or usable, usable)})


def _task(task: str, algorithm: str, cores: list[int]) -> dict[str, Any]:
    entry = find_task(task)
    larger = [size for size in LARGER_BATCHES if entry.simulated and size > entry.environments]
    settings = worker.WorkerSettings(
        task, algorithm, cores, HORIZON, [entry.environments, *larger], SECONDS
    )
    measured = _child([sys.executable, "-m", worker.__name__], settings)
    return measured | {
        "forward": [_rates(entry) for entry in measured["forward"]],
        "physics": [_rates(entry) for entry in measured["physics"]],
        "train": _rates(measured["train"]),
    }


def _peer(
    counts: list[int], allowed: list[int], python: Path | None, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Rates of the peer by number of cores, or the reason why there are none."""
    command = [str(python or sys.executable), "-P", str(peer.__file__)]
    try:
        subprocess.run([command[0], "-c", "import brax"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return {
            "missing": f"{command[0]} has no brax: pip install 'rfo[peers]', "
            "or name an interpreter that has it with --peer-python"
        }
    rates = {}
    for count in counts:
        tell(f"measuring Brax on {count} of {len(allowed)} cores (it compiles for a while)")
        settings = peer.PeerSettings(allowed[-count:], PEER_BATCH, HORIZON, SECONDS)
        measured = _child(command, settings)
        rates[str(count)] = _rates({**measured, "env_steps": measured["environments"] * HORIZON})
    return rates


def _mjx(file: dict[str, Any], cores: list[int], python: Path | None) -> dict[str, Any]:
    """Rates of MJX forward, and forward and backward; or the reasons why there are none."""
    command = [str(python or sys.executable), "-P", str(mjx.__file__)]
    found = {}
    for name, gradient in (("forward", False), ("physics", True)):
        settings = mjx.MJXSettings(
            cores,
            **file,
            environments=MJX_BATCH,
            horizon=HORIZON,
            seconds=SECONDS,
            gradient=gradient,
        )
        try:
            found[name] = _rates(_child(command, settings, 60 * MJX_MINUTES))
        except subprocess.TimeoutExpired:
            found[name] = {"missing": f"did not finish in {MJX_MINUTES} minutes"}
        except RunError as error:
            found[name] = {"missing": str(error).rpartition("): ")[2]}
    return found


def _child(
    command: list[str],
    settings: worker.WorkerSettings | peer.PeerSettings | mjx.MJXSettings,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Run a measurement and read the JSON object on its last line."""
    environment = {name: value for name, value in os.environ.items() if name != "RFO_THREADS"}
    # A program compiled for one number of cores must not come from the cache for another.
    if cache := environment.get("JAX_COMPILATION_CACHE_DIR"):
        environment["JAX_COMPILATION_CACHE_DIR"] = str(Path(cache) / f"cores-{len(settings.cores)}")
    argument = json.dumps(settings._asdict())
    done = subprocess.run(
        [*command, argument], capture_output=True, text=True, env=environment, timeout=timeout
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RunError(f"the measurement failed ({' '.join(command)} '{argument}'): {reason}")
    return json.loads(done.stdout.splitlines()[-1])


def _rates(measured: dict[str, Any]) -> dict[str, Any]:
    """The measurement with the median and quartiles of the rate in place of the times."""
    rest = {name: value for name, value in measured.items() if name not in ("seconds", "env_steps")}
    rates = [measured["env_steps"] / seconds for seconds in measured["seconds"]]
    low, median, high = statistics.quantiles(rates, n=4, method="inclusive")
    return {
        **rest,
        "env_steps_per_s": median,
        "quartiles": [low, high],
        "repetitions": len(rates),
    }


def cpu_name() -> str:
    """Model of this machine's CPU, as far as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
