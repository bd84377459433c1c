"""Building what an experiment describes: its task, its batch of environments, its algorithm."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rfo.errors import SettingError, unknown
from rfo.experiment import own
from rfo.experiment.catalogue import find_method, find_task, is_robot, short_name
from rfo.experiment.nested import fitted, within
from rfo.experiment.presets import METHODS
from rfo.experiment.record import Experiment, TaskSettings

if TYPE_CHECKING:
    from rfo.algos.base import Algorithm
    from rfo.envs.base import Environment
    from rfo.envs.batch import Batch

NOT_OPTIONS = ("self", "source", "name", "threads", "dtype")
"""Arguments of tasks' constructors that are not options of the task."""

RANDOMISE = "randomise"
"""The option of every task that holds the distributions of its domain randomisation."""


def build_task(task: TaskSettings | str, threads: int | None = None, **more: Any) -> Environment:
    """Construct a task.

    Args:
        task: its name, or its settings.
        threads: CPU threads of the physics, for a task that takes them.
        more: further arguments of its constructor, not checked.

    Raises:
        SettingError: for an unknown name or option, or a value that the task refuses.
    """
    settings = TaskSettings(task) if isinstance(task, str) else task
    distributions = settings.options.get(RANDOMISE)
    settings = without_randomisation(settings)
    maker = find_task(settings.name).load()
    given = {**task_options(settings), **more}
    if "threads" in inspect.signature(maker).parameters:
        given["threads"] = threads
    try:
        if is_robot(settings.name):
            return maker(settings.name, name=short_name(settings.name), **given)
        if own.is_adapted(settings.name):
            return maker(settings.name.partition(":")[2], **given)
        built = maker(**given)
    except (SettingError, FileNotFoundError, ValueError) as error:
        if is_robot(settings.name) or isinstance(error, SettingError):
            field = getattr(error, "field", "")
            raise SettingError(str(error), f"task.{field}" if field else "task") from None
        raise  # the task's own bug
    if own.is_own(settings.name):
        from rfo.experiment.contract import check_contract

        check_contract(built, settings.name)
    return built if not distributions else randomised(built, distributions)


def randomised(task: Environment, distributions: Any) -> Environment:
    """A task with domain randomisation, see `rfo.envs.randomise.Randomised`.

    Args:
        task: what to randomise.
        distributions: by name; nested tables stand for dotted names.

    Raises:
        SettingError: for a name or a distribution that does not fit the task.
    """
    from rfo.envs.randomise import Randomised

    with within(f"task.{RANDOMISE}"):
        if not isinstance(distributions, Mapping):
            raise SettingError(f"must be a table of distributions, not {distributions!r}")
        return Randomised(task, dict(flat(distributions)))


def without_randomisation(task: TaskSettings) -> TaskSettings:
    """The task as it is evaluated."""
    kept = {name: value for name, value in task.options.items() if name != RANDOMISE}
    return TaskSettings(task.name, kept)


def nominal(experiment: Experiment) -> Experiment:
    """The experiment without domain randomisation."""
    return replace(experiment, task=without_randomisation(experiment.task))


def flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested tables by dotted names."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def task_options(settings: TaskSettings) -> dict[str, Any]:
    """The task's options as its constructor takes them.

    Raises:
        SettingError: for an unknown option, or a value of another type.
    """
    if not settings.options:
        return {}
    kinds = option_types(find_task(settings.name).load())
    with within("task"):
        for name in settings.options:
            if name not in kinds:
                raise SettingError(_unknown_option(settings.name, name, kinds), name)
        return {name: fitted(value, kinds[name], name) for name, value in settings.options.items()}


def _unknown_option(task: str, name: str, kinds: Mapping[str, Any]) -> str:
    known = unknown("option", name, kinds) if kinds else f"unknown option '{name}': it has none"
    return f"{short_name(task)}: {known}"


def option_types(maker: Callable[..., Any]) -> dict[str, Any]:
    """Types of the options of what makes a task: of its constructor's arguments by name."""
    parameters = inspect.signature(maker).parameters.values()
    function = maker.__init__ if isinstance(maker, type) else maker
    hints = typing.get_type_hints(function)
    positional = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        parameter.name: hints.get(parameter.name, Any)
        for parameter in parameters
        if parameter.kind in positional and parameter.name not in NOT_OPTIONS
    }


def option_defaults(maker: Callable[..., Any]) -> dict[str, Any]:
    """Defaults of the options; `inspect.Parameter.empty` for one that must be given."""
    parameters = inspect.signature(maker).parameters
    return {name: parameters[name].default for name in option_types(maker)}


def build(experiment: Experiment) -> tuple[Algorithm, Batch]:
    """The algorithm and the batch of environments of an experiment.

    Raises:
        SettingError: if the algorithm needs what the environment does not offer, or JAX is set to
            what training cannot do.
    """
    refuse_modes()
    env = _batch(
        experiment.task.name,
        _content(experiment.task.name),
        json.dumps(dict(experiment.task.options), sort_keys=True),
        experiment.threads,
        experiment.environments,
        experiment.chunk,
        experiment.executed,
        experiment.algorithm.gamma,
    )
    check_fit(experiment.algorithm, env)
    return experiment.algorithm, env


def refuse_modes(double: bool = False) -> None:
    """Refuse modes of JAX, set by the environment or a program, in which nothing here can run.

    Args:
        double: whether double precision is allowed.

    Raises:
        SettingError: naming the variable to unset.
    """
    import jax

    not_finite = "numbers that are not finite are counted here, and no error"
    modes = {"jax_debug_nans": not_finite, "jax_debug_infs": not_finite}
    if not double:
        modes["jax_enable_x64"] = "policies train in single precision"
    for name, reason in modes.items():
        if getattr(jax.config, name):
            raise SettingError(f"{reason}: unset {name.upper()}")


def refuse_double(task: Environment) -> None:
    """Refuse JAX's double precision for a task whose physics computes in single precision.

    Raises:
        SettingError: naming the variable to unset.
    """
    import jax

    double = jax.dtypes.canonicalize_dtype(float) == "float64"
    if double and getattr(getattr(task, "simulator", None), "dtype", None) == "float32":
        raise SettingError(
            f"the physics of {task.spec.name} computes in single precision: unset JAX_ENABLE_X64"
        )


def _content(task: str) -> str:
    """Hash of a robot file with all that belongs to it: the file may change while we run."""
    if not is_robot(task):
        return ""
    from rfo.experiment.robot import content_hash

    return content_hash(task)


@lru_cache(maxsize=8)
def _batch(
    task: str,
    content: str,
    options: str,
    threads: int | None,
    environments: int,
    chunk: int,
    executed: int | None,
    gamma: float,
) -> Batch:
    """The same batch for equal arguments, so that what was compiled for it is used again."""
    built = build_task(TaskSettings(task, json.loads(options)), threads)
    return batched(built, environments, chunk, gamma, executed)


def batched(
    task: Environment, environments: int, chunk: int, gamma: float, executed: int | None = None
) -> Batch:
    """Environments of a task, in which decisions are chunks of actions where `chunk` is above 1."""
    from rfo.envs.batch import Batch
    from rfo.envs.chunk import ChunkedBatch

    if chunk == 1:
        return Batch(task, environments)
    return ChunkedBatch(task, environments, chunk, gamma, executed)


def check_fit(algorithm: Algorithm, env: Batch) -> None:
    """Refuse an algorithm that cannot train in a batch of environments.

    Raises:
        SettingError: if it needs a gradient that the task lacks, or its horizon holds no whole
            number of chunks.
    """
    spec = env.task.spec
    if algorithm.needs_gradient and not spec.differentiable:
        free = [name for name in METHODS if not find_method(name).load().needs_gradient]
        raise SettingError(
            f"{algorithm.name} needs the gradient of the environment, and {spec.name} has none: "
            f"use {' or '.join(free)}",
            "method",
        )
    if algorithm.horizon % env.stride:
        raise SettingError(
            f"a chunk's {env.stride} control steps must divide horizon ({algorithm.horizon})",
            "chunk",
        )
