"""The commands of the command line: what `rfo NAME` takes, and what it does.

Heavy imports wait until a command runs.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from rfo.experiment import build as experiments
from rfo.experiment import gradients
from rfo.experiment.build import Experiment
from rfo.train.record import default_path, plain, require_wandb

Threads = Annotated[
    int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: as many as help)")
]
TaskName = tyro.conf.Positional[
    Annotated[str, tyro.conf.arg(metavar="TASK", help_behavior_hint="")]
]
RunPath = tyro.conf.Positional[
    Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="")]
]
OutPath = Annotated[
    Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: under runs/)")
]
Cores = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")]
Executed = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")]
PeerPython = Annotated[
    Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: this one)")
]
WandbProject = Annotated[
    str | None, tyro.conf.arg(metavar="PROJECT", help_behavior_hint="(default: none)")
]
OtherTask = Annotated[
    str | None, tyro.conf.arg(metavar="TASK", help_behavior_hint="(default: the run's)")
]
MjcfFile = Annotated[
    str | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")
]
ResumedPath = Annotated[Path, tyro.conf.arg(metavar="RUN", help_behavior_hint="(required)")]


NewLength = Annotated[
    int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the run's)")
]
EpisodeNumber = Annotated[
    int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: two per environment)")
]

NOT_OPTIONS = {"hyperparameters", "schedule", "task", "tasks", "run_folder"}
"""Fields of commands that are positional, derived, or hold others."""


class UsageError(Exception):
    """A command line that cannot be carried out: one line that says what to do."""


@dataclass(frozen=True)
class List:
    """Show the tasks and algorithms that `rfo train` knows."""

    json: bool = False
    """Print one JSON object with `tasks` and `algorithms`, both keyed by name."""

    def run(self) -> int:
        """Print the catalogue."""
        catalogue = experiments.catalogue()
        if self.json:
            print(json.dumps(catalogue))
            return 0
        width = max(len(name) for entries in catalogue.values() for name in entries)
        for kind, entries in catalogue.items():
            print(kind)
            for name, entry in entries.items():
                print(f"  {name:<{width}} {entry['summary']}")
        print("train with: rfo train TASK --algo ALGORITHM")
        return 0


@dataclass(frozen=True)
class Train:
    """Train a policy, evaluate it, and write a replay.

    The defaults are the preset of the task and the algorithm. Everything lands in one run folder, whose
    path is the last line printed. Ctrl-C saves a checkpoint and stops; `rfo train --resume RUN` goes on
    from it. Every hyperparameter of the chosen algorithm is an option too: `rfo train ant --algo sapo
    --help` shows SAPO's.
    """

    hyperparameters: Any
    task: TaskName = ""
    """What to train on; `rfo list` shows the names. Or the MJCF file of a robot, as with --mjcf."""
    mjcf: MjcfFile = None
    """Robot to train in place of a task: its MJCF file, which ends in .xml."""
    reward: Literal["forward"] = "forward"
    """What the robot of an MJCF file is paid for: to run forward."""
    algo: str = "rfo"
    """Algorithm: rfo, sapo, soft_flow, shac, apg, ppo, sac or fpo; or a variant, see `rfo list`."""
    steps: int = 1_000_000
    """Environment steps to train, rounded up to whole updates."""
    envs: int = 64
    """Environments simulated in parallel."""
    chunk: int = 1
    """Actions of one decision: the policy draws so many at once, and they are carried out open loop."""
    executed: Executed = None
    """How many of them are carried out before the next decision."""
    seed: int = 0
    """Random seed. The same seed gives the same numbers."""
    seeds: int = 1
    """Seeds to train together in one program, counted up from --seed, each with its own run folder."""
    out: OutPath = None
    """Run folder to make; with --seeds, the folder around theirs. It must not exist."""
    threads: Threads = None
    """CPU threads of the physics."""
    checkpoint_every: int = 100
    """Updates between checkpoints."""
    evaluation_episodes: EpisodeNumber = None
    """Episodes of each evaluation after training, rounded up to equal shares of the environments."""
    wandb: WandbProject = None
    """Project of Weights & Biases to send the metrics to as well (pip install 'rfo[wandb]')."""

    def run(self) -> int:
        """Train and evaluate."""
        if not (self.task or self.mjcf):
            raise UsageError(f"name a task, as in `rfo train ant`: {', '.join(experiments.TASKS)}")
        if self.task and self.mjcf:
            raise UsageError(f"train on {self.task} or on --mjcf {self.mjcf}, not on both")
        if self.mjcf and not experiments.is_robot(self.mjcf):
            raise UsageError(f"--mjcf takes an MJCF file, which ends in .xml, not {self.mjcf}")
        if self.seeds < 1:
            raise UsageError(f"--seeds must be at least 1, not {self.seeds}")
        first = self.experiment()
        from rfo.experiment.run import create, refuse_misfit, train

        refuse_misfit(first)  # before any folder is made
        runs = [dataclasses.replace(first, seed=first.seed + i) for i in range(self.seeds)]
        if self.wandb is not None:
            require_wandb()
        folders = create(runs, [self._path(run) for run in runs])
        if self.wandb is not None:
            for folder in folders:
                folder.mirror(self.wandb)
        return train(runs, folders)

    def experiment(self) -> Experiment:
        """The resolved experiment of the first seed."""
        settings = {
            f.name: getattr(self.hyperparameters, f.name)
            for f in dataclasses.fields(self.hyperparameters)
        }
        del settings["schedule"]
        if self.evaluation_episodes is not None:
            settings["evaluation_episodes"] = self.evaluation_episodes
        return experiments.preset(
            self.mjcf or self.task,
            self.algo,
            steps=self.steps,
            environments=self.envs,
            chunk=self.chunk,
            executed=self.executed,
            seed=self.seed,
            threads=self.threads,
            checkpoint_every=self.checkpoint_every,
            **settings,
        )

    def _path(self, run: Experiment) -> Path:
        if self.out is None:
            return default_path(run.task, run.label, run.seed)
        return self.out if self.seeds == 1 else self.out / f"s{run.seed}"


@dataclass(frozen=True)
class Resume:
    """Go on with an interrupted run, from its newest checkpoint and with its own settings."""

    resume: ResumedPath
    """Run folder to go on with."""
    steps: NewLength = None
    """Environment steps of the whole training, to extend the run. The learning rate goes on from where
    it is, over the new length."""
    threads: Threads = None
    """CPU threads of the physics."""

    def run(self) -> int:
        """Train on."""
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"--steps must be at least 1, not {self.steps}")
        from rfo.experiment.run import resume

        return resume(self.resume, self.threads, self.steps)


@dataclass(frozen=True)
class Eval:
    """Evaluate the policy of a run, with the same number of episodes in every environment."""

    run_folder: RunPath = None
    """Run folder; its newest checkpoint is used."""
    on: OtherTask = None
    """Task to evaluate on, of the same sizes: say, the recorded forces after training under softer ones."""
    episodes: int = 128
    """Episodes, rounded up to equal shares of the environments."""
    deterministic: bool = False
    """Act with noise zero instead of drawing actions."""
    seed: int = 0
    """Of the episodes."""
    threads: Threads = None
    """CPU threads of the physics."""
    json: bool = False
    """Print one JSON object with mean, std, iqm, episodes, deterministic and more."""

    def run(self) -> int:
        """Evaluate and print."""
        if self.seed < 0:
            raise UsageError(f"--seed must not be negative, not {self.seed}")
        if self.episodes < 1:
            raise UsageError(f"--episodes must be at least 1, not {self.episodes}")
        if self.run_folder is None:
            raise UsageError("name a run folder, as in `rfo eval runs/...`")
        from rfo.experiment import run as runs

        folder, experiment = runs.open_run(self.run_folder, self.threads)
        experiment = dataclasses.replace(experiment, evaluation_episodes=self.episodes)
        summary = runs.evaluate(experiment, folder, self.deterministic, self.seed, self.on)
        line = (
            runs.describe(summary) if self.on is None else f"on {self.on}, {runs.describe(summary)}"
        )
        print(json.dumps(plain(summary)) if self.json else line)
        return 0


@dataclass(frozen=True)
class Watch:
    """Open the replay of a run in the browser: one HTML file that needs no network."""

    run_folder: RunPath = None
    """Run folder."""
    open: bool = True
    """Open the browser; the path is printed in any case."""

    def run(self) -> int:
        """Write the page again and show it."""
        if self.run_folder is None:
            raise UsageError("name a run folder, as in `rfo watch runs/...`")
        from rfo.experiment.run import replay_page

        page = replay_page(self.run_folder)
        if self.open:
            import webbrowser

            webbrowser.open(page.resolve().as_uri())
        print(page)
        return 0


@dataclass(frozen=True)
class CheckGrad:
    """Check a task's gradient against central differences, environment by environment.

    Rolls out random actions over several horizons and compares the adjoint with differences along the
    gradient and along random directions. The exit status is 1 if the gradient is wrong.
    """

    task: TaskName = ""
    """Task to check; `rfo list` shows the names."""
    envs: int = 32
    """Environments, each compared on its own."""
    horizons: tuple[int, ...] = (1, 8, 32)
    """Control steps of the rollouts."""
    seed: int = 0
    """Of states, actions and directions."""
    threads: Threads = None
    """CPU threads of the physics."""
    json: bool = False
    """Print one JSON object with ok, worst_relative_error and the details."""

    def run(self) -> int:
        """Check, print, judge."""
        if not self.task:
            raise UsageError(
                f"name a task, as in `rfo check-grad ant`: {', '.join(experiments.TASKS)}"
            )
        if min(self.envs, *self.horizons, self.threads or 1) < 1 or self.seed < 0:
            raise UsageError(
                "--envs, --horizons and --threads must be at least 1, --seed not negative"
            )
        from rfo.lab.gradient_table import report_gradient

        checks = gradients.check_gradient(
            self.task, self.envs, self.horizons, seed=self.seed, threads=self.threads
        )
        return report_gradient(self.task, checks, self.json)


@dataclass(frozen=True)
class BenchSpeed:
    """Measure how fast tasks simulate and train on this machine, on one core and on all.

    Every measurement is a process of its own that cannot use more cores than it is told. Physics is a
    rollout of 32 control steps and its gradient, without any policy; training is whole updates. Beside
    the ant stands a peer, Brax, if it is installed (pip install 'rfo[peers]'). A few minutes in all.
    """

    tasks: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="TASK ...")]] = (
        "ant",
    )
    """Tasks to measure."""
    algo: str = "rfo"
    """Algorithm of the training."""
    cores: Cores = None
    """Cores of the second measurement."""
    peer_python: PeerPython = None
    """Interpreter that has Brax, where it shall not be installed beside rfo."""
    json: bool = False
    """Print one JSON object with physics_env_steps_per_s, train_env_steps_per_s (of the first task), threads
    and all details; the tables go to stderr."""

    def run(self) -> int:
        """Measure and print."""
        for task in self.tasks:
            experiments.preset(task, self.algo)
        if not self.tasks or (self.cores is not None and self.cores < 1):
            raise UsageError("name at least one task; --cores must be at least 1")
        from rfo.lab import speed as bench
        from rfo.lab import speed_table as table

        def tell(line: str) -> None:
            print(line, file=sys.stderr, flush=True)

        result = bench.measure(self.tasks, self.algo, self.cores, self.peer_python, tell)
        table.show(result, to_stderr=self.json)
        if self.json:
            print(json.dumps(result))
        return 0
