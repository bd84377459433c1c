"""`rfo eval`: evaluate the policy of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from rfo.cli.options import OwnTask, RunPath, Threads
from rfo.errors import SettingError
from rfo.experiment.record import require_seed

OtherTask = Annotated[
    str | None, tyro.conf.arg(metavar="TASK", help_behavior_hint="(default: the run's)")
]


@dataclass(frozen=True)
class Eval:
    """Evaluate the policy of a run, with the same number of episodes in every environment."""

    run_folder: RunPath = ""
    """Run folder; its newest checkpoint is used."""
    on: OtherTask = None
    """Another task of the same sizes to evaluate on, such as hand_reorient after training on
    hand_reorient_smooth."""
    task: OwnTask = None
    physics: Literal["rfo", "mujoco"] = "rfo"
    """What moves the robot: mujoco lets MuJoCo do it, with its own contact and integrator, then our
    physics from the same starts, and prints both returns."""
    episodes: int = 128
    """Episodes, rounded up to equal shares of the environments."""
    deterministic: bool = False
    """Act with noise zero instead of drawing actions."""
    randomised: bool = False
    """With the domain randomisation that the run was trained with."""
    seed: int = 0
    """Seed of the evaluation's episodes."""
    threads: Threads = None
    json: bool = False
    """Print one JSON object with mean, std, iqm, episodes, deterministic and more."""

    def run(self) -> int:
        """Evaluate and print."""
        if self.episodes < 1:
            raise SettingError(f"--episodes must be at least 1, not {self.episodes}", "episodes")
        require_seed(self.seed)
        if not self.run_folder:
            raise SettingError("name a run folder, as in `rfo eval runs/...`")
        from rfo.experiment.finish import describe
        from rfo.experiment.judge import describe_both
        from rfo.experiment.run import load
        from rfo.training.record import plain

        run = load(self.run_folder, threads=self.threads, task=self.task)
        summary = run.evaluate(
            self.episodes,
            self.deterministic,
            self.seed,
            on=self.on,
            physics=self.physics,
            randomised=self.randomised,
        )
        told = describe_both(summary) if self.physics == "mujoco" else describe(summary)
        line = told if self.on is None else f"on {self.on}, {told}"
        print(json.dumps(plain(summary)) if self.json else line)
        return 0
