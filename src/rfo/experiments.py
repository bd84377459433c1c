"""What can be trained, and how: the registries of tasks and algorithms, presets, and the only place
where environments and algorithms are built.

Importing this module is cheap: tasks and algorithms are imported when they are asked for.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rfo.algos.base import Algorithm
    from rfo.envs.base import Environment
    from rfo.envs.batch import Batch


class ExperimentError(Exception):
    """A wish that cannot be built: one line that says what to do."""


@dataclass(frozen=True)
class Task:
    """A registered task and its preset."""

    module: str
    name: str
    summary: str
    steps: int
    """Environment steps of a training run."""
    environments: int = 64
    simulated: bool = False
    """Whether it runs on the physics engine, which takes a number of threads."""
    approach: tuple[tuple[float, ...], int] | None = None
    """An action, and for how many steps, after which a tool that starts out of reach touches what it works
    on: before that no reward has a gradient to check."""
    fine: bool = False
    """Whether its gradient is checked in double precision, with smaller steps: kinks, many and small, keep
    differences at the steps that single precision can resolve from converging to the slope."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters that differ from an algorithm's defaults, for the algorithms that have them."""


@dataclass(frozen=True)
class Method:
    """A registered algorithm, or a variant of one: the same class with other defaults."""

    module: str
    name: str
    summary: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters that make the variant; they come before a task's."""


SOFT = {
    "actor_hidden": (512, 256),
    "critic_hidden": (256, 256),
    "point_hidden": (16,),
    "critic_iterations": 8,
    "capacity": 32_768,
}
"""The reference's networks for soft bodies, but for what costs most on a CPU: its encoder has the layers (64,
128, 256) per point, and its critics make 16 passes. Equal for all methods."""

SOFT_SMALL = {
    "actor_hidden": (128, 64),
    "critic_hidden": (128, 128),
    "point_hidden": (32,),
    "point_features": 32,
    "vector_features": 64,
    "critic_iterations": 8,
    "critic_learning_rate": 2e-3,
    "capacity": 65_536,
}


PARTICLES = SOFT | {"point_hidden": (32, 64)}


def _humanoid(name: str, summary: str) -> Task:
    settings = {"actor_hidden": (256, 128), "critic_hidden": (128, 128)}
    return Task("rfo.envs.humanoid", name, summary, 8_192_000, simulated=True, settings=settings)


def _hand(name: str, summary: str) -> Task:
    settings = {"actor_hidden": (512, 256), "critic_hidden": (256, 256)}
    return Task("rfo.envs.hand_reorient", name, summary, 4_096_000, simulated=True, settings=settings)


def _soft(
    module: str,
    name: str,
    summary: str,
    steps: int,
    settings: Mapping[str, Any],
    environments: int = 32,
    **more: Any,
) -> Task:
    module = f"rfo.envs.{module}"
    return Task(module, name, summary, steps, environments, simulated=True, settings=settings, **more)


_soft_walker = partial(_soft, "soft_jumper", fine=True)
_rolling = partial(_soft, "rolling_flat", approach=((0.0, -0.9, 0.0), 14), fine=True)
_carrying = partial(_soft, "fluid_move", fine=True)
_folding = partial(_soft, "hand_flip", approach=((0.0,) * 24, 35), fine=True)

TASKS: dict[str, Task] = {
    "ant": Task(
        "rfo.envs.ant",
        "Ant",
        "a four-legged robot runs forward (AntRun)",
        steps=4_096_000,
        simulated=True,
        settings={"actor_hidden": (128, 64, 32), "critic_hidden": (64, 64)},
    ),
    "hopper": Task(
        "rfo.envs.hopper", "Hopper", "a one-legged robot hops forward", steps=2_048_000, simulated=True
    ),
    "cheetah": Task(
        "rfo.envs.cheetah", "Cheetah", "half a cheetah runs forward", steps=4_096_000, simulated=True
    ),
    "humanoid": _humanoid("humanoid", "a two-legged robot runs forward"),
    "humanoid_corrected": _humanoid("humanoid_corrected", "the same, with the hips of its model file"),
    "hand_reorient": _hand("hand_reorient", "a hand turns a cube to a given orientation (HandReorient)"),
    "hand_reorient_corrected": _hand("hand_reorient_corrected", "the same with the whole bonus"),
    "hand_reorient_smooth": _hand("hand_reorient_smooth", "the same, with damping that sets in softly"),
    "go2": Task(
        "rfo.envs.go2",
        "Go2",
        "a Unitree Go2 follows a velocity command",
        steps=4_096_000,
        simulated=True,
        settings={"actor_hidden": (128, 64, 32), "critic_hidden": (128, 64)},
    ),
    "cartpole": Task(
        "rfo.envs.cartpole", "CartPole", "a cart swings up its pole", steps=512_000, simulated=True
    ),
    "soft_jumper": _soft_walker(
        "soft_jumper", "a soft table with 222 muscles jumps forward (SoftJumper)", 6_144_000, SOFT
    ),
    "soft_jumper_corrected": _soft_walker(
        "soft_jumper_corrected", "the same body, seen and scaled about its own centre", 6_144_000, SOFT
    ),
    "soft_jumper_camera": _soft_walker(
        "soft_jumper_camera", "the corrected one, seen by a depth camera", 6_144_000, SOFT
    ),
    "soft_jumper_small": _soft_walker(
        "soft_jumper_small", "a soft bench with 25 muscles jumps forward", 512_000, SOFT_SMALL
    ),
    "soft_jumper_small_camera": _soft_walker(
        "soft_jumper_small_camera", "the soft bench, seen by a depth camera", 512_000, SOFT_SMALL
    ),
    "soft_worm": _soft_walker("soft_worm", "a soft beam with 40 muscles moves forward", 512_000, SOFT_SMALL),
    "rolling_flat": _rolling(
        "rolling_flat", "a pin rolls plasticine flat (RollingFlat)", 4_096_000, PARTICLES
    ),
    "rolling_flat_corrected": _rolling(
        "rolling_flat_corrected", "the same, with heights from the ground", 4_096_000, PARTICLES
    ),
    "rolling_flat_small": _rolling(
        "rolling_flat_small", "a pin rolls 400 particles flat", 128_000, SOFT_SMALL, environments=8
    ),
    "fluid_move": _carrying("fluid_move", "a box carries water (FluidMove)", 4_096_000, PARTICLES),
    "fluid_move_corrected": _carrying(
        "fluid_move_corrected", "the same, where spilling has a gradient", 4_096_000, PARTICLES
    ),
    "fluid_move_small": _carrying(
        "fluid_move_small", "a box carries 400 particles of water", 128_000, SOFT_SMALL, environments=8
    ),
    "hand_flip": _folding("hand_flip", "a hand folds a disc of plasticine (HandFlip)", 6_144_000, PARTICLES),
    "hand_flip_corrected": _folding(
        "hand_flip_corrected", "the same, scaled about its own middle", 6_144_000, PARTICLES
    ),
    "hand_flip_small": _folding(
        "hand_flip_small", "a hand folds 400 particles", 128_000, SOFT_SMALL, environments=8
    ),
    "pendulum": Task("rfo.envs.pendulum", "Pendulum", "Gymnasium's swing-up", steps=204_800, environments=16),
    "quadratic": Task("rfo.envs.probe", "Quadratic", "closed form: one step, one optimum", steps=204_800),
    "reach_cloud": Task("rfo.envs.probe", "ReachCloud", "closed form: a point cloud to reach", steps=204_800),
    "lqr": Task("rfo.envs.probe", "LQR", "closed form: linear dynamics, quadratic cost", steps=204_800),
    "terminating": Task("rfo.envs.probe", "Terminating", "closed form: episodes that end", steps=204_800),
    "truncating": Task(
        "rfo.envs.probe", "Truncating", "closed form: episodes cut by the clock", steps=204_800
    ),
    "delayed": Task("rfo.envs.probe", "Delayed", "closed form: reward one step late", steps=204_800),
    "bimodal": Task("rfo.envs.probe", "Bimodal", "closed form: two modes beat every Gaussian", steps=204_800),
}

ALGORITHMS: dict[str, Method] = {
    "rfo": Method("rfo.algos.rfo", "RFO", "reparameterization flow policy optimization"),
    "sapo": Method("rfo.algos.sapo", "SAPO", "soft analytic policy optimization"),
    "shac": Method("rfo.algos.shac", "SHAC", "short-horizon actor-critic"),
    "apg": Method("rfo.algos.apg", "APG", "analytic policy gradient, no critic"),
    "ppo": Method("rfo.algos.ppo", "PPO", "proximal policy optimization, model-free"),
    "sac": Method("rfo.algos.sac", "SAC", "soft actor-critic, model-free, off-policy"),
    "fpo": Method("rfo.algos.fpo", "FPO", "flow policy optimization, model-free"),
    "naive_flow": Method(
        "rfo.algos.rfo", "RFO", "RFO without its two matching terms", {"c_past": 0.0, "c_uni": 0.0}
    ),
    "shac2": Method(
        "rfo.algos.sapo",
        "SAPO",
        "SHAC with SAPO's policy and settings: SAPO without entropy",
        {"initial_alpha": 1e-30, "alpha_learning_rate": 0.0},
    ),
}
"""Algorithms, then variants. An entropy of weight 1e-30 is lost in float32 beside any reward."""


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
    own = {f.name for f in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    hyperparameters = {name: value for name, value in entry.settings.items() if name in own}
    hyperparameters |= ALGORITHMS[algorithm].settings
    hyperparameters |= {name: value for name, value in changes.items() if name not in names}
    settings.setdefault("evaluation_episodes", 2 * settings["environments"])
    experiment = Experiment(task, configured(kind, hyperparameters), method=algorithm, **settings)
    return scheduled(experiment)


def scheduled(experiment: Experiment) -> Experiment:
    """The experiment with its learning-rate schedule as long as its training."""
    algorithm = dataclasses.replace(experiment.algorithm, updates=experiment.updates)  # pyright: ignore
    return dataclasses.replace(experiment, algorithm=algorithm)


def configured(kind: type, hyperparameters: Mapping[str, Any]) -> Algorithm:
    """An algorithm with some hyperparameters set; lists, which JSON has for tuples, become tuples.

    Raises:
        ExperimentError: for an unknown hyperparameter or a value that is refused.
    """
    refuse_unknown("hyperparameter", hyperparameters, {f.name for f in dataclasses.fields(kind)})
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in hyperparameters.items()}
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise ExperimentError(str(error)) from None


def is_robot(name: str) -> bool:
    """Whether a task is an MJCF file, see `rfo.envs.robot`."""
    return name.endswith(".xml")


def task_entry(name: str) -> Task:
    """A registered task, or an MJCF file's; imports nothing."""
    if is_robot(name):
        return Task("rfo.envs.robot", "Robot", f"the robot in {name} runs forward", 1_000_000, simulated=True)
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
    task: str, threads: int | None, environments: int, chunk: int, executed: int | None, gamma: float
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
        others = f"use {' or '.join(free)}" if free else "no algorithm here does without; choose another task"
        raise ExperimentError(
            f"{algorithm.name} needs the gradient of the environment, and {task.spec.name} has none: {others}"
        )


def catalogue() -> dict[str, dict[str, Any]]:
    """Tasks and algorithms by name, with their summaries, ready for JSON."""
    return {
        "tasks": {
            name: {"summary": entry.summary, "environments": entry.environments, "steps": entry.steps}
            for name, entry in TASKS.items()
        },
        "algorithms": {name: {"summary": method.summary} for name, method in ALGORITHMS.items()},
    }
