"""Experiments: what a training run is, and the only place where environments and algorithms are built.

Importing this module is cheap: tasks and algorithms are imported when they are asked for.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfo.experiment.catalogue import ALGORITHMS, TASKS, Task

if TYPE_CHECKING:
    from rfo.algos.base import Algorithm
    from rfo.envs.base import Environment
    from rfo.envs.batch import Batch


class ExperimentError(Exception):
    """A wish that cannot be built: one line that says what to do."""


@dataclass(frozen=True)
class Experiment:
    """Everything that determines a training run but the machine."""

    task: str
    algorithm: Algorithm
    """A frozen record of hyperparameters; `updates` agrees with `steps`."""
    environments: int = 64
    chunk: int = 1
    """Actions C of one decision, from one draw of noise, carried out open loop."""
    executed: int | None = None
    """How many of them are carried out before the next decision; None for all."""
    steps: int = 1_000_000
    """Environment steps to train, rounded up to whole updates."""
    seed: int = 0
    threads: int | None = None
    """CPU threads of the physics; None takes as many as speed up the batch."""
    checkpoint_every: int = 100
    """Updates between checkpoints."""
    evaluation_episodes: int = 128
    """Episodes of each evaluation protocol, rounded up to equal shares of the environments."""
    method: str = ""
    """Registered name that it was asked for by: the algorithm's, or a variant's."""

    def __post_init__(self) -> None:
        for name in ("environments", "chunk", "steps", "checkpoint_every", "evaluation_episodes"):
            if getattr(self, name) < 1:
                raise ExperimentError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.executed is not None and not 1 <= self.executed <= self.chunk:
            raise ExperimentError(
                f"executed must be from 1 to the chunk's {self.chunk} actions, not {self.executed}"
            )
        if self.seed < 0:
            raise ExperimentError(f"seed must not be negative, not {self.seed}")
        if self.threads is not None and self.threads < 1:
            raise ExperimentError(f"threads must be at least 1, not {self.threads}")
        if self.method and self.method not in ALGORITHMS:
            raise ExperimentError(unknown("method", self.method, ALGORITHMS))

    @property
    def label(self) -> str:
        """Name of what is trained."""
        return self.method or self.algorithm.name

    @property
    def updates(self) -> int:
        """Updates that train at least `steps` environment steps."""
        return updates_for(self.steps, self.environments, self.algorithm.horizon)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal experiment."""
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        settings["algorithm"] = {
            "name": self.algorithm.name,
            **dataclasses.asdict(self.algorithm),  # pyright: ignore[reportArgumentType]
        }
        return settings

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Experiment:
        """Read `to_json`'s data.

        Raises:
            ExperimentError: for a name that is unknown here, or a value that is refused.
        """
        refuse_unknown("setting", data, {f.name for f in dataclasses.fields(cls)})
        try:
            hyperparameters = dict(data["algorithm"])
            name = hyperparameters.pop("name")
            algorithm = configured(algorithm_class(name), hyperparameters)
            return cls(**{"method": name, **data, "algorithm": algorithm})
        except KeyError as error:
            raise ExperimentError(f"{error} is missing") from None
        except (TypeError, ValueError) as error:
            raise ExperimentError(str(error)) from None


def updates_for(steps: int, environments: int, horizon: int) -> int:
    """Updates of horizon * environments steps each that reach `steps`."""
    return max(1, -(-steps // max(1, environments * horizon)))


def preset(task: str, algorithm: str, **changes: Any) -> Experiment:
    """The default experiment of a task and an algorithm.

    Args:
        task, algorithm: registered names.
        changes: fields of `Experiment` to set, or hyperparameters of the algorithm.

    Raises:
        ExperimentError: for unknown names or values that are refused.
    """
    entry = task_entry(task)
    kind = algorithm_class(algorithm)
    names = {f.name for f in dataclasses.fields(Experiment)} - {"task", "algorithm", "method"}
    settings: dict[str, Any] = {"environments": entry.environments, "steps": entry.steps}
    settings |= {name: value for name, value in changes.items() if name in names}
    own = kind()
    hyperparameters = {n: value for n, value in entry.settings.items() if has_setting(own, n)}
    hyperparameters |= ALGORITHMS[algorithm].settings
    hyperparameters |= {name: value for name, value in changes.items() if name not in names}
    settings.setdefault("evaluation_episodes", 2 * settings["environments"])
    experiment = Experiment(task, configured(kind, hyperparameters), method=algorithm, **settings)
    return scheduled(experiment)


def scheduled(experiment: Experiment) -> Experiment:
    """The experiment with its learning-rate schedule as long as its training."""
    algorithm = edited(experiment.algorithm, {"schedule.updates": experiment.updates})
    return dataclasses.replace(experiment, algorithm=algorithm)


def configured(kind: type, hyperparameters: Mapping[str, Any]) -> Algorithm:
    """An algorithm with some hyperparameters set, by dotted name or nested.

    Raises:
        ExperimentError: for an unknown hyperparameter or a value that is refused.
    """
    try:
        return edited(kind(), hyperparameters)
    except (ValueError, TypeError) as error:
        raise ExperimentError(str(error)) from None


def has_setting(record: Any, name: str) -> bool:
    """Whether a record, or a record in it, has a field of this dotted name."""
    for part in name.split("."):
        if not hasattr(record, part):
            return False
        record = getattr(record, part)
    return True


def edited(record: Any, changes: Mapping[str, Any]) -> Any:
    """A frozen record with fields set by dotted name or nested; lists become tuples."""
    refuse_unknown(
        "hyperparameter",
        (name.partition(".")[0] for name in changes),
        {f.name for f in dataclasses.fields(record)},
    )
    values: dict[str, Any] = {}
    inside: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        if rest or isinstance(value, Mapping):
            inside.setdefault(head, {}).update({rest: value} if rest else value)
        else:
            values[head] = tuple(value) if isinstance(value, list) else value
    for head, own in inside.items():
        values[head] = edited(values.get(head, getattr(record, head)), own)
    return dataclasses.replace(record, **values)


def is_robot(name: str) -> bool:
    """Whether a task is an MJCF file, see `rfo.envs.tasks.robot`."""
    return name.endswith(".xml")


def task_entry(name: str) -> Task:
    """A registered task, or an MJCF file's; imports nothing."""
    if is_robot(name):
        return Task(
            "rfo.envs.tasks.robot",
            "Robot",
            f"the robot in {name} runs forward",
            1_000_000,
            simulated=True,
        )
    if name not in TASKS:
        raise ExperimentError(unknown("task", name, TASKS))
    return TASKS[name]


def algorithm_class(name: str) -> type:
    """Class of a registered algorithm or variant."""
    if name not in ALGORITHMS:
        raise ExperimentError(unknown("algorithm", name, ALGORITHMS))
    return getattr(import_module(ALGORITHMS[name].module), ALGORITHMS[name].name)


def refuse_unknown(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise `ExperimentError` for the first given name that is not known."""
    known = set(known)
    for name in given:
        if name not in known:
            raise ExperimentError(unknown(kind, name, known))


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """A line that says a name is unknown and lists near ones, or all if none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"
    return f"unknown {kind} '{name}': {hint}"


def build_task(name: str, threads: int | None = None, **options: Any) -> Environment:
    """Construct a registered task, or one of an MJCF file; `options` are its own."""
    entry = task_entry(name)
    kind = getattr(import_module(entry.module), entry.name)
    if is_robot(name):
        try:
            return kind(name, name=Path(name).stem, threads=threads)
        except (FileNotFoundError, ValueError) as error:
            raise ExperimentError(str(error)) from None
    return kind(threads=threads, **options) if entry.simulated else kind()


def build(experiment: Experiment) -> tuple[Algorithm, Batch]:
    """The algorithm and the batch of environments of an experiment.

    Raises:
        ExperimentError: if the algorithm needs what the environment does not offer.
    """
    env = _batch(
        experiment.task,
        experiment.threads,
        experiment.environments,
        experiment.chunk,
        experiment.executed,
        experiment.algorithm.gamma,
    )
    check_fit(experiment.algorithm, env.task)
    return experiment.algorithm, env


@lru_cache(maxsize=8)
def _batch(
    task: str,
    threads: int | None,
    environments: int,
    chunk: int,
    executed: int | None,
    gamma: float,
) -> Batch:
    """One batch for equal wishes, so that what was compiled for it is used again."""
    from rfo.envs.batch import Batch
    from rfo.envs.chunk import ChunkedBatch

    built = build_task(task, threads)
    return (
        Batch(built, environments)
        if chunk == 1
        else ChunkedBatch(built, environments, chunk, gamma, executed)
    )


def check_fit(algorithm: Algorithm, task: Environment) -> None:
    """Refuse an algorithm that needs a gradient on a task without one."""
    if algorithm.needs_gradient and not task.spec.differentiable:
        free = [name for name in ALGORITHMS if not algorithm_class(name).needs_gradient]
        others = (
            f"use {' or '.join(free)}"
            if free
            else "no algorithm here does without; choose another task"
        )
        raise ExperimentError(
            f"{algorithm.name} needs the gradient of the environment, and {task.spec.name} has none: {others}"
        )


def catalogue() -> dict[str, dict[str, Any]]:
    """Tasks and algorithms by name, with their summaries, ready for JSON."""
    return {
        "tasks": {
            name: {
                "summary": entry.summary,
                "environments": entry.environments,
                "steps": entry.steps,
            }
            for name, entry in TASKS.items()
        },
        "algorithms": {name: {"summary": method.summary} for name, method in ALGORITHMS.items()},
    }
