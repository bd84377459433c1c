"""`rfo check-grad`: compare a task's gradient with central differences."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rfo.cli.options import Threads
from rfo.cli.settings import TaskChoice
from rfo.experiment.catalogue import short_name
from rfo.experiment.record import require_positive


@dataclass(frozen=True)
class CheckGrad(TaskChoice):
    """Check a task's gradient against central differences, environment by environment.

    Rolls out random actions over several horizons and compares the adjoint with differences along
    the gradient and along random directions. The exit status is 1 if the gradient is wrong.
    """

    envs: int = 32
    """Number of environments; each is compared separately."""
    horizons: tuple[int, ...] = (1, 8, 32)
    """Control steps of the rollouts."""
    seed: int = 0
    """Seed of the states, actions and directions."""
    threads: Threads = None
    parameters: bool = False
    """Check the gradient in the parameters of the simulator: masses, gains, friction and all
    others, each array by itself."""
    json: bool = False
    """Print one JSON object with ok, worst_relative_error and the details."""

    def run(self) -> int:
        """Check, print, judge."""
        require_positive(
            envs=self.envs, horizons=min(self.horizons, default=0), threads=self.threads
        )
        from rich.console import Console

        from rfo.experiment.gradient_table import WIDTH, details
        from rfo.experiment.gradients import GradientReport, gradient_checks
        from rfo.training.record import plain
        from rfo.training.screen import Phase

        task = self.chosen()
        checks = gradient_checks(
            task,
            self.envs,
            self.horizons,
            seed=self.seed,
            threads=self.threads,
            parameters=self.parameters,
        )
        name, done = short_name(task.name), []
        with Phase(f"{name}: compiling and checking") as phase:
            for check in checks:
                if check.dropped and all(check.start != before.start for before in done):
                    phase.say(f"{name} {check.complaint}")
                done.append(check)
                phase.say(f"checked {check.steps} control steps from {check.start}")
        report = GradientReport(name, tuple(done))
        if self.json:
            print(json.dumps(plain(details(report))))
        else:
            console = Console()
            console.width = console.width if console.is_terminal else WIDTH
            console.print(report)
        return 0 if report.passed else 1
