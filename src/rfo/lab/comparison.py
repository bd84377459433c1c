"""Runs to compare: their scores by task and label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rfo.lab import statistics
from rfo.lab.results import ResultsError, RunResult


@dataclass(frozen=True)
class Comparison:
    """Runs to compare.

    Args:
        runs: runs of one or several tasks. Runs of a task with the same label differ only in their
            seeds.
        reference: label that the others are compared with; it may be missing on some tasks.

    Raises:
        ResultsError: if there is no run, no run has the label of the reference, or a run occurs
            twice.
    """

    runs: Sequence[RunResult]
    reference: str

    def __post_init__(self) -> None:
        if not self.runs:
            raise ResultsError("there is no run to report on")
        if self.reference not in self.labels:
            raise ResultsError(
                f"no run has the label {self.reference}; known labels: {', '.join(self.labels)}"
            )
        (task, label, seed), count = Counter(
            (r.task, r.label, r.seed) for r in self.runs
        ).most_common(1)[0]
        if count > 1:
            raise ResultsError(
                f"{count} runs are {task}, {label}, seed {seed}: leave out all but one folder"
            )

    @property
    def tasks(self) -> list[str]:
        """All tasks, in the order of the runs."""
        return list(dict.fromkeys(run.task for run in self.runs))

    @property
    def labels(self) -> list[str]:
        """All labels, in the order of the runs."""
        return list(dict.fromkeys(run.label for run in self.runs))

    def of(self, task: str, label: str | None = None) -> list[RunResult]:
        """Runs of a task, or only those with a label."""
        return [run for run in self.runs if run.task == task and label in (None, run.label)]

    def ranked(self, task: str) -> list[str]:
        """Labels of a task, the one with the best mean first."""
        labels = dict.fromkeys(run.label for run in self.of(task))
        return sorted(labels, key=lambda label: -self.scores(task, label).mean())

    def scores(self, task: str, label: str) -> np.ndarray:
        """Scores of a label, one per seed.

        A run in which no episode ended counts as the worst run of its task.
        """
        every = [run.score for run in self.of(task)]
        worst = min((score for score in every if np.isfinite(score)), default=0.0)
        mine = np.array([run.score for run in self.of(task, label)])
        return np.where(np.isfinite(mine), mine, worst)

    def scores_by_label(self, task: str) -> dict[str, np.ndarray]:
        """Scores of a task by label, the one with the best mean first."""
        return {label: self.scores(task, label) for label in self.ranked(task)}

    def normalised(self, task: str, label: str) -> np.ndarray:
        """Scores scaled so that the worst run of the task is 0 and the best is 1."""
        every = np.concatenate([self.scores(task, other) for other in self.ranked(task)])
        return statistics.normalised(self.scores(task, label), every)

    @property
    def everywhere(self) -> list[str]:
        """Labels with runs on every task."""
        return [label for label in self.labels if all(self.of(task, label) for task in self.tasks)]
