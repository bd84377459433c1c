"""Searches good settings with Optuna, in as many processes as are started on one sweep.

Optuna's storage says which trials there are and how they ended. The run folders say how far the
training of each has come. A process holds the lock of the trial that it trains. If a trial has not
ended and its lock is free, its process was killed, and the next process goes on with it from its
checkpoints.
"""

from __future__ import annotations

import fcntl
import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from rfo.errors import RunError, SettingError
from rfo.lab import queue
from rfo.lab.board import Board
from rfo.lab.folders import read_run
from rfo.lab.search import Search
from rfo.lab.statistics import interquartile_mean
from rfo.lab.suite import Cell
from rfo.training import metrics
from rfo.training.guard import Interruption

POLL = 0.2
"""Time between two looks at a training [s]."""
RUNGS = 10
"""Parts of a training; the learning curve is judged at the end of each but the last."""
SPARED = 0.2
"""Share of a training before which no trial is pruned."""
SETTLED = 5
"""Trials that are trained to their end before any is pruned."""
REASON = "reason"
"""Attribute of a trial that says why it has no value."""


@dataclass
class Trial:
    """A trial that this process trains."""

    optuna: optuna.Trial
    lock: int
    """File descriptor of the lock on the trial's folder."""
    judged: set[int] = field(default_factory=set)
    """Environment steps at which its learning curve was judged."""

    @property
    def name(self) -> str:
        """Name that the user sees."""
        return f"trial {self.optuna.number}"


class Sweep:
    """A search in its folder.

    Args:
        search: what to search.
        folder: folder of the trials, each in TASK/TRIAL/sSEED, which is made if it is missing.
        threads: CPU threads of each training; None: as many as help.

    Raises:
        SettingError: if the storage cannot be opened.
        RunError: if the storage holds a sweep of this name with other settings.
    """

    def __init__(self, search: Search, folder: Path, threads: int | None = None):
        self.search, self.folder, self.threads = search, folder, threads
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            self.study = optuna.create_study(
                storage=_storage(search, folder),
                study_name=search.name,
                direction="maximize",
                pruner=_pruner(search),
                load_if_exists=True,
            )
            _refuse_other_search(self.study, search)
        self.board = Board(str(folder))
        self.interruption = Interruption()

    def run(self) -> bool:
        """Train trials until there is none left to begin or to go on with.

        Returns:
            Whether SIGINT or SIGTERM stopped it. If so, the training has saved a checkpoint.

        Raises:
            KeyboardInterrupt: after a second such signal, which kills the training.
        """
        with self.interruption, self.board:
            while not self.interruption.requested:
                with ExitStack() as held:
                    trial = self.claim(held)
                    if trial is None:
                        break
                    self.train(trial)
        return self.interruption.requested

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials whose settings are drawn, in any of some states, or all."""
        found = self.study.get_trials(deepcopy=False, states=states or None)
        # a process that was killed while it drew left a trial that never began
        return [trial for trial in found if trial.params.keys() == self.search.space.keys()]

    def claim(self, held: ExitStack) -> Trial | None:
        """A trial for this process, locked until `held` is closed; None if there is none left.

        Trials that another process left behind come first.
        """
        with alone(self.folder):
            for left in self.trials(TrialState.RUNNING):
                place = self.place(left)
                if self.search.storage and not place.exists():
                    continue  # its folder is on another machine
                try:
                    lock = held.enter_context(queue.locked(place))
                except RunError:
                    continue
                judged = set(left.intermediate_values)
                return Trial(optuna.Trial(self.study, left._trial_id), lock, judged)  # noqa: SLF001
            if len(begun := self.trials()) >= self.search.trials:
                return None
            self.study.sampler = _sampler(self.search, len(begun))
            new = self.study.ask(dict(self.search.space))
            return Trial(new, held.enter_context(queue.locked(self.place(new))))

    def place(self, trial: optuna.Trial | FrozenTrial) -> Path:
        """Folder of a trial."""
        task = Cell("", self.search.experiment, (), True).task
        return self.folder / task / f"{trial.number:04}"

    def train(self, trial: Trial) -> None:
        """Train a trial's seeds and tell Optuna how they ended."""
        self.board.say(f"{trial.name}: {_shown(trial.optuna.params)}")
        try:
            cell = self.search.cell(trial.optuna.number, trial.optuna.params)
        except SettingError as error:
            return self.end(trial, TrialState.FAIL, reason=str(error))
        jobs = queue.jobs([cell], self.folder)
        pruned = bool(trial.judged) and bool(trial.optuna.should_prune())
        for job in jobs:
            if pruned or self.interruption.requested:
                break
            pruned = self.follow(trial, job)
            if job.status == queue.FAILED:
                return self.end(trial, TrialState.FAIL, reason=job.reason)
            if job.status == queue.INTERRUPTED and not pruned:
                return None  # it goes on from here
        if pruned:
            return self.end(trial, TrialState.PRUNED, reason="its learning curve lagged behind")
        if self.interruption.requested and any(job.status == queue.WAITING for job in jobs):
            return None
        return self.judge(trial, cell)

    def follow(self, trial: Trial, job: queue.Job) -> bool:
        """Train a job to its end, unless its learning curve lags behind.

        Returns:
            Whether it does.
        """
        process, stopped, lags = queue.launch(job, self.threads, trial.lock), False, False
        try:
            while process.poll() is None:
                new = self.report(trial, job.cell)
                lags = lags or (new and bool(trial.optuna.should_prune()))
                if not stopped and (lags or self.interruption.requested):
                    stopped = True
                    queue.send(job, signal.SIGINT)
                self.board.show(lambda: queue.suite_progress([job], 1))
                time.sleep(POLL)
        finally:
            queue.send(job, signal.SIGKILL)  # after an exception
            process.wait()
        self.report(trial, job.cell)  # what it reached since the last look
        queue.judge(job, process.returncode)
        return lags

    def report(self, trial: Trial, cell: Cell) -> bool:
        """Tell Optuna the learning curve at the rungs that all seeds have reached.

        Returns:
            Whether there was a new one.
        """
        if not self.search.prune:
            return False
        steps = self.search.experiment.steps
        rungs = [round(steps * i / RUNGS) for i in range(1, RUNGS)]
        folders = [self.folder / cell.name / f"s{seed}" for seed in cell.seeds]
        reached = min(queue.reached(folder)[0] for folder in folders)
        new = [rung for rung in rungs if rung <= reached and rung not in trial.judged]
        curves = [metrics.read(folder / "metrics.jsonl").lines for folder in folders if new]
        for rung in new:
            trial.judged.add(rung)
            returns = [_return_at(rung, lines) for lines in curves]
            known = [value for value in returns if value is not None]
            if len(known) == len(returns):
                trial.optuna.report(interquartile_mean(known).value, rung)
        return bool(new)

    def judge(self, trial: Trial, cell: Cell) -> None:
        """Tell Optuna the value of a trial: the interquartile mean of its seeds' scores."""
        runs = [read_run(self.folder / cell.name / f"s{seed}") for seed in cell.seeds]
        diverged = [f"s{run.seed}" for run in runs if run.status == "diverged"]
        reason = f"{', '.join(diverged)} diverged" if diverged else ""
        scores = [run.score for run in runs]
        if np.isfinite(scores).all():
            self.end(trial, TrialState.COMPLETE, interquartile_mean(scores).value, reason)
        else:  # the sampler ranks it last
            reason = reason or "no episode ended"
            self.end(trial, TrialState.PRUNED, reason=f"{reason} before it had a return")

    def end(
        self, trial: Trial, state: TrialState, value: float | None = None, reason: str = ""
    ) -> None:
        """Tell Optuna how a trial ended, and the user."""
        if reason:
            trial.optuna.set_user_attr(REASON, reason)
        self.study.tell(trial.optuna, value, state)
        facts = "" if value is None else f" {value:,.4g}"
        self.board.say(
            f"{trial.name}: {state.name.lower()}{facts}" + (f" ({reason})" if reason else "")
        )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process of the sweep is in such a context."""
    with (folder / ".claim").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _storage(search: Search, folder: Path) -> BaseStorage:
    if not search.storage:
        return JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    try:
        return RDBStorage(search.storage)
    except Exception as error:  # of the URL, the driver or the server
        reason = str(error).splitlines()[0]
        raise SettingError(
            f"storage {search.storage} cannot be opened: {reason}", "storage"
        ) from None


def _pruner(search: Search) -> BasePruner:
    spared = round(SPARED * search.experiment.steps)
    return MedianPruner(SETTLED, n_warmup_steps=spared) if search.prune else NopPruner()


def _sampler(search: Search, begun: int) -> BaseSampler:
    """A sampler that draws the same again, given the same trials before."""
    seed = search.seeds[0] + begun
    return RandomSampler(seed) if search.sampler == "random" else TPESampler(seed=seed)


def _refuse_other_search(study: optuna.Study, search: Search) -> None:
    """Keep what the processes must agree on in the study, or compare it with what is there."""
    now = json.loads(json.dumps(search.description))
    there = study.user_attrs.get("search")
    if there is None:
        study.set_user_attr("search", now)
    elif there != now:
        changed = ", ".join(_changed(there, now))
        raise RunError(
            f"there is a sweep {search.name} with other settings ({changed}): "
            f"name another folder with --out, or give the file another name in a shared storage"
        )


def _changed(there: Any, now: Any, path: str = "") -> Iterator[str]:
    """Dotted names in which two nested tables differ."""
    if isinstance(there, Mapping) and isinstance(now, Mapping):
        for name in sorted(there.keys() | now.keys()):
            yield from _changed(there.get(name), now.get(name), f"{path}.{name}" if path else name)
    elif there != now:
        yield path.removeprefix("experiment.").removeprefix("algorithm.")


def _shown(drawn: Mapping[str, Any]) -> str:
    """Drawn settings in one line."""
    plain = {name: f"{x:.4g}" if isinstance(x, float) else x for name, x in drawn.items()}
    return ", ".join(f"{name} = {value}" for name, value in plain.items())


def _return_at(env_steps: int, lines: list[metrics.MetricsLine]) -> float | None:
    """Mean return of the first line from some environment steps on; None if it has none."""
    there = (line["return_mean"] for line in lines if line["env_steps"] >= env_steps)
    return next(there, None)
