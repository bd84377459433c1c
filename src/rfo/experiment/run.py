"""A run in its folder: what it holds, its policy, and what can be done with it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from rfo.errors import SettingError
from rfo.experiment import build, own
from rfo.experiment import train as training
from rfo.experiment.finish import evaluate_run
from rfo.experiment.folder import load_state, open_run
from rfo.experiment.record import Experiment, require_positive, require_seed
from rfo.training import metrics
from rfo.training.record import RunFolder, status_of

if TYPE_CHECKING:
    from rfo.algos.base import Policy
    from rfo.deploy.export import Export
    from rfo.types import Array, Observation, PRNGKey

Physics = Literal["rfo", "mujoco"]
"""What moves the robot in an evaluation."""


class Run:
    """A training run in its folder. `rfo.train` and `rfo.load` make one.

    Example:
        >>> import rfo
        >>> run = rfo.train("lqr", "apg", steps=64, environments=4, horizon=4, out="run")
        >>> run.status
        'finished'
        >>> run.metrics["env_steps"]
        array([16., 32., 48., 64.])
        >>> run.evaluate(episodes=4)["episodes"]
        4
    """

    def __init__(self, path: Path, experiment: Experiment):
        self.path = path
        """The run folder."""
        self.experiment = experiment
        """What was trained, with all settings."""

    def __repr__(self) -> str:
        return f"<rfo.Run {self.path}: {self.experiment.title}, {self.status}>"

    @property
    def status(self) -> str:
        """``finished``, ``diverged``, or ``unfinished``: stopped, or in training elsewhere."""
        return status_of(self.path)

    @property
    def exit_status(self) -> int:
        """Exit status for a program that made this run."""
        statuses = {"finished": training.FINISHED, "diverged": training.DIVERGED}
        return statuses.get(self.status, training.INTERRUPTED)

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of the metrics, each with one float per update, NaN where there is no value.

        ``update``, ``env_steps``, ``seconds`` [s], ``return_mean`` (of the last 100 finished
        episodes) and what the method reports. ``pandas.DataFrame(run.metrics)`` takes them as they
        are. A damaged line is left out, with a warning.
        """
        file = metrics.read(self.path / "metrics.jsonl")
        if file.complaint is not None:
            warnings.warn(file.complaint, stacklevel=2)
        rows = file.lines
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: np.array([metrics.number(row.get(name)) for row in rows]) for name in names}

    @property
    def evaluation(self) -> dict[str, Any]:
        """Evaluation at the end of the training, by protocol: ``stochastic``, ``deterministic``.

        Raises:
            RunError: if the run is not finished.
        """
        return RunFolder.open(self.path).read_json("evaluation.json")

    def policy(self, observation: Observation, key: PRNGKey | None = None) -> Array:
        """Actions of the newest checkpoint's policy.

        Args:
            observation: array or list (O,) or (B, O), or a dict of them as the task's specification
                says, with or without the leading axis B.
            key: draws the policy's noise; None acts with noise zero.

        Returns:
            actions in [-1, 1], (A,) or (B, A).

        Raises:
            SettingError: for an observation of another shape.
            RunError: if the run has no checkpoint.
        """
        act, spec = self._policy
        shape = spec.observation
        wanted = dict(shape) if isinstance(shape, Mapping) else (shape,)
        # a list is one array, not a tree of numbers
        observation = jax.tree.map(jnp.asarray, observation, is_leaf=lambda x: isinstance(x, list))
        given = jax.tree.map(jnp.shape, observation)
        batched = _without_batch(given) == wanted
        if not batched and given != wanted:
            raise SettingError(
                f"an observation of {spec.name} has the shape {wanted}, or one axis more in front, "
                f"not {given}",
                "observation",
            )
        if batched:
            return act(observation, key)
        return act(jax.tree.map(lambda x: x[None], observation), key)[0]

    @cached_property
    def _policy(self) -> tuple[Policy, Any]:
        algorithm, env = build.build(self.experiment)
        with jax.ensure_compile_time_eval():  # the first call may be inside of jit
            state, _ = load_state(RunFolder.open(self.path), self.experiment)
        return algorithm.policy(state), env.spec

    def evaluate(
        self,
        episodes: int = 128,
        deterministic: bool = False,
        seed: int = 0,
        on: str | None = None,
        physics: Physics = "rfo",
        randomised: bool = False,
    ) -> dict[str, Any]:
        """Evaluate the newest checkpoint's policy, with as many episodes in every environment.

        Args:
            episodes: how many, rounded up to equal shares of the environments.
            deterministic: act with noise zero.
            seed: seed of the evaluation's episodes, from 0 to 2^32 - 1.
            on: another task of the same sizes, by name.
            physics: "mujoco" lets MuJoCo move the robot, and our physics from the same starts, one
                episode an environment.
            randomised: with the domain randomisation that the run was trained with.

        Returns:
            ``mean``, ``std``, ``iqm``, ``interval`` (95 %, of the mean), ``episodes``, ``returns``
            (one per episode) and more, see `rfo.training.evaluate.summarise`; after MuJoCo also
            what `rfo.experiment.judge.judge_run` lists.

        Raises:
            SettingError: for values out of range, a task of other sizes, or one that MuJoCo cannot
                move.
            RunError: if the run has no checkpoint.
        """
        require_seed(seed)
        if physics not in get_args(Physics):
            raise SettingError(f"physics must be rfo or mujoco, not '{physics}'", "physics")
        if physics == "mujoco":
            if randomised:
                raise SettingError("MuJoCo moves the robot of the file only", "randomised")
            from rfo.experiment.judge import judge_run

            require_positive(episodes=episodes)
            folder = RunFolder.open(self.path)
            return judge_run(self.experiment, folder, deterministic, seed, episodes, on)
        experiment = self.experiment.edited({"evaluation.episodes": episodes})
        folder = RunFolder.open(self.path)
        return evaluate_run(experiment, folder, deterministic, seed, on, randomised)

    def export(self, path: str | Path | None = None, deterministic: bool = False) -> Export:
        """Write the newest checkpoint's policy to one file that runs without rfo.

        The file is compared with the policy before it is written, see `rfo.deploy.export`.

        Args:
            path: file to write, ``.onnx``, or ``.zip`` for StableHLO; by default ``policy.onnx`` in
                the run folder.
            deterministic: act with noise zero; without it the noise is an input.

        Returns:
            ``path``, ``metadata``, and the largest ``difference`` from the policy.

        Raises:
            SettingError: for a path with another suffix.
            RunError: if the run has no checkpoint, a package is missing, or the file acts
                differently.
        """
        from rfo.deploy.export import export

        target = self.path / "policy.onnx" if path is None else Path(path)
        return export(self.experiment, RunFolder.open(self.path), target, deterministic)

    def record(
        self,
        path: str | Path | None = None,
        size: tuple[int, int] = (960, 540),
        speed: float = 1.0,
        fps: int = 30,
        seconds: float | None = None,
    ) -> Path:
        """Draw the run's replay as a film, without a display; the camera follows the figure.

        Args:
            path: file to write, ``.mp4`` or ``.gif``, or ``.png`` for single pictures; by default
                ``replay.mp4`` in the run folder.
            size: width and height [pixels], even numbers.
            speed: seconds of the task that pass in a second of the film.
            fps: pictures a second.
            seconds: length of the film, if it is shorter than the replay [s].

        Returns:
            the path.

        Raises:
            SettingError: for a value out of range.
            RunError: if there is no replay, or something that is needed is not installed.
        """
        from rfo.deploy.video import record

        target = self.path / "replay.mp4" if path is None else Path(path)
        record(self.path, target, size, speed, fps, seconds)
        return target

    def resume(self, steps: int | None = None, devices: int | None = None) -> Run:
        """Go on with the training from the newest checkpoint; returns the run.

        Args:
            steps: length of the whole training in environment steps, to make the run longer.
            devices: how many share the environments, in place of the run's own.

        Raises:
            RunError: if it is finished, or has no checkpoint, or has come further than `steps`.
        """
        name, threads = self.experiment.task.name, self.experiment.threads
        task = name if own.is_own(name) else None
        training.resume(self.path, threads, steps, task, devices)
        return load(self.path, threads=threads, task=task)


def load(path: str | Path, *, threads: int | None = None, task: str | None = None) -> Run:
    """A run from its folder.

    Args:
        path: the run folder.
        threads: CPU threads of the physics, in place of the run's own.
        task: the run's task, if it is code of your own that has moved, or code of someone else
            that you trust.

    Raises:
        RunError: if this is not a run folder, or it is damaged.
        SettingError: if its task is code that this machine has not run before, see `task`.

    Example:
        >>> import rfo
        >>> run = rfo.train("lqr", "apg", steps=64, environments=4, horizon=4, out="saved")
        >>> rfo.load("saved").experiment == run.experiment
        True
    """
    _, experiment = open_run(Path(path), threads, task)
    return Run(Path(path), experiment)


def _without_batch(shape: Any) -> Any:
    if isinstance(shape, dict):
        return {name: inner[1:] for name, inner in shape.items()}
    return shape[1:]
