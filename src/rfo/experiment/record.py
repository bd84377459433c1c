"""What a training run is: the `Experiment`, one frozen record that every part passes on.

It is what the library's functions take, a run folder stores, suites list and the command line
edits. It is written as JSON and TOML and read back equal. `preset` makes the experiment of a task
and a method.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rfo.errors import SettingError, unknown
from rfo.experiment import nested
from rfo.experiment.catalogue import find_method, find_task, short_name
from rfo.experiment.nested import fitted, leaves

if TYPE_CHECKING:
    from rfo.algos.base import Algorithm

LARGEST_SEED = 2**32 - 1
"""JAX keeps no more of a seed than its 32 lowest bits: larger ones would repeat smaller ones."""
MOST_UPDATES = 2**31 - 1
"""Updates are counted in 32 bits."""


def require_seed(seed: int) -> None:
    """Refuse a seed that JAX would cut short.

    Raises:
        SettingError: if it is negative or above `LARGEST_SEED`.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise SettingError(f"seed must be from 0 to {LARGEST_SEED}, not {seed}", "seed")


def require_positive(**values: int | None) -> None:
    """Refuse a number below 1; None passes.

    Raises:
        SettingError: naming the first one that is refused.
    """
    for name, value in values.items():
        if value is not None and value < 1:
            raise SettingError(f"{name} must be at least 1, not {value}", name)


@dataclass(frozen=True)
class TaskSettings:
    """A task and its own settings.

    Example:
        >>> import rfo
        >>> rfo.TaskSettings("robot.xml", {"substeps": 32}).name
        'robot.xml'
    """

    name: str
    """Name of a known task; an MJCF file; or `my_task.py:Reach`, `my_package.tasks:Reach`."""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Arguments of the task's constructor by name, as plain values; what is left out has its
    default."""


@dataclass(frozen=True)
class Evaluation:
    """How a trained policy is evaluated.

    Raises:
        SettingError: for fewer than one episode.

    Example:
        >>> import rfo
        >>> rfo.Evaluation(episodes=128).episodes
        128
    """

    episodes: int | None = None
    """Episodes of each protocol, rounded up to equal shares of the environments; None: two for
    each."""

    def __post_init__(self) -> None:
        require_positive(episodes=self.episodes)


@dataclass(frozen=True)
class Experiment:
    """Everything that determines a training run, except for the machine.

    Raises:
        SettingError: for the first value that is out of its range.

    Example:
        >>> import rfo
        >>> experiment = rfo.preset("ant", "sapo", seed=3)
        >>> rfo.Experiment.from_toml(experiment.to_toml()) == experiment
        True
        >>> experiment.edited({"critic.iterations": 8}).algorithm.critic.iterations
        8
    """

    task: TaskSettings
    algorithm: Algorithm
    """Frozen record of the algorithm's settings; its schedule is as long as the training."""
    environments: int = 64
    """Environments that are simulated in parallel."""
    chunk: int = 1
    """Actions of one decision, from one draw of noise, carried out without looking again."""
    executed: int | None = None
    """How many of them are carried out before the next decision; None: all."""
    steps: int = 1_000_000
    """Environment steps to train, rounded up to whole updates."""
    seed: int = 0
    """Random seed of the training; the same seed gives the same numbers."""
    threads: int | None = None
    """CPU threads of the physics; None: as many as speed up the batch."""
    devices: int = 1
    """Devices that share the environments, or the seeds where several train together."""
    checkpoint_every: int = 100
    """Updates between checkpoints."""
    evaluation: Evaluation = Evaluation()
    method: str = ""
    """Name of the method that was asked for: the algorithm's, or a variant's."""

    def __post_init__(self) -> None:
        counts = ("environments", "chunk", "steps", "threads", "devices", "checkpoint_every")
        require_positive(**{name: getattr(self, name) for name in counts})
        if self.executed is not None and not 1 <= self.executed <= self.chunk:
            raise SettingError(
                f"executed must be from 1 to the chunk's {self.chunk} actions, not {self.executed}",
                "executed",
            )
        require_seed(self.seed)
        if self.method:
            find_method(self.method)
        for name, value in leaves(self).items():
            if isinstance(value, float):
                fitted(value, float, name.removeprefix("algorithm."))
        if self.updates > MOST_UPDATES:
            per_update = self.algorithm.horizon * self.environments
            raise SettingError(
                f"steps must be at most {MOST_UPDATES * per_update}, {MOST_UPDATES:,} updates of "
                f"{per_update} steps, not {self.steps}",
                "steps",
            )

    @property
    def label(self) -> str:
        """Name of the method that is trained."""
        return self.method or self.algorithm.name

    @property
    def title(self) -> str:
        """Task and method in a few words."""
        return f"{short_name(self.task.name)} {self.label}"

    @property
    def updates(self) -> int:
        """Updates that train at least `steps` environment steps."""
        return max(1, -(-self.steps // max(1, self.environments * self.algorithm.horizon)))

    @property
    def evaluation_episodes(self) -> int:
        """Episodes of each evaluation protocol, before they are rounded up."""
        return self.evaluation.episodes or 2 * self.environments

    def edited(self, edits: Mapping[str, Any]) -> Experiment:
        """A copy with some settings changed.

        The learning rate's schedule follows the length of the training, unless it is set, too.

        Args:
            edits: new values by dotted name, or nested. The algorithm's settings can be named
                without ``algorithm.``, those of the task as ``task.NAME``.

        Raises:
            SettingError: for an unknown name, or a value that is refused.
        """
        placed = _placed(self, edits)
        for name in ("method", "algorithm.name"):
            given = placed.pop(name, None)
            if given not in (None, self.method if name == "method" else self.algorithm.name):
                raise SettingError(
                    f"{name} cannot be changed to {given!r} in an experiment with "
                    f"{self.label}: start from the preset of another method",
                    name,
                )
        try:
            changed = nested.edited(self, placed)
        except SettingError as error:
            raise error.without("algorithm") from None
        planned = any(name.startswith("algorithm.schedule") for name in placed)
        return changed if planned or changed.updates == self.updates else scheduled(changed)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal experiment."""
        data = nested.to_data(self)
        data["algorithm"] = {"name": self.algorithm.name, **data["algorithm"]}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Experiment:
        """Read `to_json`'s data. What is left out has the preset's value.

        Args:
            data: at least a ``task``; the ``method`` is RFO if none is named.

        Raises:
            SettingError: for a name that is unknown here, or a value that is refused.
        """
        if not isinstance(data, Mapping):
            raise SettingError(f"an experiment is a table of settings, not {data!r}")
        task, algorithm = data.get("task"), data.get("algorithm", {})
        name = task.get("name") if isinstance(task, Mapping) else task
        if not isinstance(name, str):
            raise SettingError('task is missing: name one, as in task.name = "ant"', "task")
        own_name = algorithm.get("name") if isinstance(algorithm, Mapping) else None
        return preset(name, data.get("method") or own_name or "rfo").edited(data)

    def to_toml(self) -> str:
        """The experiment as a TOML file, without the schedule where it follows from the steps."""
        data = self.to_json()
        if scheduled(self) == self:
            data["algorithm"].pop("schedule", None)
        return nested.toml(data)

    @classmethod
    def from_toml(cls, text: str) -> Experiment:
        """Read `to_toml`'s text, or any TOML with some of its settings.

        Raises:
            SettingError: for text that is not TOML, an unknown name, or a value that is refused.
        """
        try:
            return cls.from_json(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise SettingError(f"this is not TOML: {error}") from None


def preset(task: str, method: str = "rfo", **settings: Any) -> Experiment:
    """The default experiment of a task and a method.

    Args:
        task: name of a known task; an MJCF file; or the place of your own task's code, as
            ``my_task.py:Reach`` or ``my_package.tasks:Reach``.
        method: name of a known method.
        settings: values that differ from the preset, see `Experiment.edited`. Dotted names are
            given as in ``**{"critic.iterations": 8}``.

    Raises:
        SettingError: for unknown names, or values that are refused.

    Example:
        >>> import rfo
        >>> rfo.preset("cartpole", "shac", steps=4096, horizon=16).steps
        4096
    """
    entry, chosen = find_task(task), find_method(method)
    algorithm = chosen.load()()
    known = leaves(algorithm)
    given = {name: value for name, value in entry.settings.items() if name in known}
    base = Experiment(
        TaskSettings(task),
        nested.edited(algorithm, {**given, **chosen.settings}),
        environments=entry.environments,
        steps=entry.steps,
        method=method,
    )
    return scheduled(base).edited(settings)


def scheduled(experiment: Experiment) -> Experiment:
    """The experiment with a learning-rate schedule as long as its training."""
    algorithm: Any = experiment.algorithm
    schedule = dataclasses.replace(
        algorithm.schedule, updates=experiment.updates, begin=0, fraction=1.0
    )
    return dataclasses.replace(
        experiment, algorithm=dataclasses.replace(algorithm, schedule=schedule)
    )


def differences(one: Experiment, other: Experiment) -> list[str]:
    """Names of the settings in which two experiments differ.

    Threads and devices do not count, and neither does the schedule, which follows from the steps.
    """
    if type(one.algorithm) is not type(other.algorithm):
        return ["method"]
    here, there = leaves(one), leaves(other)
    names = {name for name in here.keys() | there.keys() if here.get(name) != there.get(name)}
    names = {name for name in names if not name.startswith("algorithm.schedule.")}
    return sorted(name.removeprefix("algorithm.") for name in names - {"threads", "devices"})


def _placed(experiment: Experiment, edits: Mapping[str, Any]) -> dict[str, Any]:
    """Edits by the full names of what they change."""
    own, inner = nested.names(experiment), nested.names(experiment.algorithm)
    placed: dict[str, Any] = {}
    for name, value in edits.items():
        head, _, rest = name.partition(".")
        if head == "task" and isinstance(value, str) and not rest:
            placed["task.name"] = value
        elif name == "task" and isinstance(value, Mapping):
            placed |= _placed(experiment, {f"task.{key}": item for key, item in value.items()})
        elif head == "task" and rest and rest.partition(".")[0] not in ("name", "options"):
            placed[f"task.options.{rest}"] = value
        elif name == "algorithm" and isinstance(value, Mapping):
            placed |= {f"algorithm.{key}": item for key, item in value.items()}
        elif head in own:
            placed[name] = value
        elif head in inner:
            placed[f"algorithm.{name}"] = value
        else:
            known = [*leaves(experiment), *leaves(experiment.algorithm)]
            known = [setting for setting in known if not setting.startswith("algorithm.")]
            raise SettingError(unknown("setting", name, known), name)
    return placed
