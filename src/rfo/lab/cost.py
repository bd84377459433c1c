"""What a training will take of a machine: measured over its first updates, and extrapolated."""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

from rfo.experiment import memory
from rfo.experiment.build import build
from rfo.experiment.record import Experiment
from rfo.training.screen import duration
from rfo.training.trainer import compiled_update, initial_state

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None


@dataclass(frozen=True)
class Cost:
    """Time and memory of a training on the machine that measured it."""

    compile_seconds: float
    """From nothing to the end of the first update [s]."""
    update_seconds: float
    """One update: the median of those that were timed [s]."""
    updates: int
    """Updates of the whole training."""
    update_steps: int
    """Environment steps of one update."""
    memory_planned: int
    """Memory that the arrays are estimated to take [bytes]."""
    memory_peak: int | None
    """Most memory that this process has had so far, programs included [bytes]; None where the
    system does not tell."""

    @property
    def seconds(self) -> float:
        """The whole training without its evaluation [s]."""
        return self.compile_seconds + (self.updates - 1) * self.update_seconds

    @property
    def steps_per_second(self) -> float:
        """Environment steps per second once it is compiled, of all seeds together [1/s]."""
        return self.update_steps / self.update_seconds

    def __str__(self) -> str:
        lines = [
            f"compiling: {duration(self.compile_seconds)}",
            f"an update: {self.update_seconds:.3g} s for {self.update_steps:,} environment steps "
            f"({self.steps_per_second:,.0f}/s)",
            f"the training: {duration(self.seconds)} for {self.updates:,} updates, "
            "without the evaluation",
            f"memory: about {memory.gigabytes(self.memory_planned)} for its arrays",
        ]
        if self.memory_peak is not None:
            lines[-1] += f"; this process had {memory.gigabytes(self.memory_peak)} at most"
        return "\n".join(lines)


def measure(experiment: Experiment, seeds: int = 1, timed: int = 3) -> Cost:
    """Make a training's first updates, without a run folder.

    Args:
        experiment: what would be trained.
        seeds: runs that train together in one program.
        timed: updates to time after the first one, which compiles.

    Raises:
        SettingError: for settings that cannot work, or if the machine lacks the memory.
    """
    plan = memory.plan(experiment, seeds)
    memory.refuse_beyond(plan, memory.available_memory())
    begin = time.perf_counter()
    algorithm, env = build(experiment)
    update = compiled_update(algorithm, env, seeds)
    state = initial_state(algorithm, env, range(experiment.seed, experiment.seed + seeds))
    ends = []
    for _ in range(1 + timed):
        state, metrics, _ = update(state)
        _wait((state, metrics))
        ends.append(time.perf_counter())
    return Cost(
        compile_seconds=ends[0] - begin,
        update_seconds=statistics.median(b - a for a, b in itertools.pairwise(ends)),
        updates=experiment.updates,
        update_steps=seeds * algorithm.horizon * env.size,
        memory_planned=plan.total,
        memory_peak=peak_memory(),
    )


def peak_memory() -> int | None:
    """Most memory that this process has had [bytes], None where the system does not tell."""
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _wait(arrays: Any) -> None:
    import jax

    jax.block_until_ready(arrays)
