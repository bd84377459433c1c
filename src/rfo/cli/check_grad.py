"""`rfo check-grad`: compare a task's gradient with central differences."""

from __future__ import annotations

from dataclasses import dataclass

from rfo.cli.options import TaskName, Threads
from rfo.errors import SettingError
from rfo.experiment.catalogue import find_task, tasks
from rfo.experiment.record import require_seed


@dataclass(frozen=True)
class CheckGrad:
    """Check a task's gradient against central differences, environment by environment.

    Rolls out random actions over several horizons and compares the adjoint with differences along
    the gradient and along random directions. The exit status is 1 if the gradient is wrong.
    """

    task: TaskName = ""
    """Task to check: a name that `rfo list` shows, an MJCF file, or a task of your own
    (FILE.py:CLASS)."""
    envs: int = 32
    """Environments, each compared on its own."""
    horizons: tuple[int, ...] = (1, 8, 32)
    """Control steps of the rollouts."""
    seed: int = 0
    """Seed of the states, actions and directions."""
    threads: Threads = None
    """CPU threads of the physics."""
    json: bool = False
    """Print one JSON object with ok, worst_relative_error and the details."""

    def run(self) -> int:
        """Check, print, judge."""
        if not self.task:
            raise SettingError(f"name a task, as in `rfo check-grad ant`: {', '.join(tasks())}")
        find_task(self.task)
        if not self.horizons:
            raise SettingError(
                "--horizons needs a number or more, as in --horizons 1 8", "horizons"
            )
        threads = 1 if self.threads is None else self.threads
        if min(self.envs, *self.horizons, threads) < 1:
            raise SettingError("--envs, --horizons and --threads must be at least 1")
        require_seed(self.seed)
        from rfo.experiment.gradients import check_gradient
        from rfo.lab.gradient_table import report_gradient

        checks = check_gradient(
            self.task, self.envs, self.horizons, seed=self.seed, threads=self.threads
        )
        return report_gradient(self.task, checks, self.json)
