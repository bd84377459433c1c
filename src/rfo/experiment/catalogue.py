"""The tasks and methods that are known by name: find one, list them, add a task.

`rfo.experiment.presets` holds those that rfo brings; `rfo.experiment.record.preset` makes an
experiment of a task and a method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfo.errors import SettingError, unknown
from rfo.experiment import own
from rfo.experiment.presets import METHODS, TASKS, Method, Task

if TYPE_CHECKING:
    from rfo.envs.base import Environment

ENTRY_POINTS = "rfo.tasks"
"""Group of entry points by which an installed package offers tasks under names of its own."""

_REGISTERED: dict[str, Task] = {}


def register_task(
    name: str,
    factory: Callable[..., Environment],
    *,
    summary: str = "",
    steps: int = 1_000_000,
    environments: int = 64,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Make a task known by a name in this process, for `train`, `preset`, `make` and the others.

    Args:
        name: how it is called from now on; letters, digits, "_", "-" and ".".
        factory: makes the task; its arguments are the task's settings. A class will do.
        summary: one line about it.
        steps: environment steps of a training run.
        environments: how many train in parallel.
        settings: settings that differ from a method's defaults, by dotted name as in
            ``{"critic.iterations": 8}``; methods without one of them ignore it.

    Raises:
        SettingError: if the name is taken by a task that rfo brings, or has other characters.

    Example:
        >>> import rfo
        >>> from rfo.envs.tasks.probe import LQR
        >>> rfo.register_task("my_lqr", LQR, steps=1024, environments=4)
        >>> rfo.preset("my_lqr", "apg").steps
        1024
    """
    if name in TASKS:
        raise SettingError(f"rfo brings a task named {name}; choose another name", "name")
    if not name.strip(".").replace("_", "").replace("-", "").replace(".", "").isalnum():
        raise SettingError(
            f"a task's name has letters, digits, '_', '-' and '.' only, not {name!r}", "name"
        )
    module = getattr(factory, "__module__", "")
    maker = getattr(factory, "__qualname__", "")
    _REGISTERED[name] = Task(
        module,
        maker,
        summary or f"{module}:{maker}",
        steps,
        environments,
        settings=settings or {},
        factory=factory,
    )


def tasks() -> dict[str, Task]:
    """The tasks that are known by name: rfo's, those of installed packages, and registered ones.

    Example:
        >>> import rfo
        >>> rfo.tasks()["cartpole"].summary
        'a cart swings up its pole'
    """
    offered = {
        point.name: Task(point.module, point.attr, f"of {_package(point)} ({point.value})")
        for point in metadata.entry_points(group=ENTRY_POINTS)
    }
    return {**offered, **_REGISTERED, **TASKS}


def _package(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "a package"


def methods() -> dict[str, Method]:
    """The methods that are known by name: algorithms, then variants of them.

    Example:
        >>> import rfo
        >>> rfo.methods()["sapo"].summary
        'soft analytic policy optimization'
    """
    return dict(METHODS)


def find_task(name: str) -> Task:
    """A task by the name it is trained under; imports nothing of it.

    Args:
        name: of a known task; an MJCF file, which ends in .xml (see `rfo.envs.robot`); an
            environment of another package as ``brax:ant``; or a task of your own as
            ``my_task.py:Reach`` or ``my_package.tasks:Reach``.

    Raises:
        SettingError: for another name.
    """
    if is_robot(name):
        summary = f"the robot in {name}"
        return Task("rfo.envs.robot", "Robot", summary, simulated=True)
    if own.is_adapted(name):
        source, _, environment = name.partition(":")
        place = f"rfo.envs.adapters.from_{source}"
        maker = f"{source.capitalize()}Task"
        return Task(place, maker, f"{environment} of {source}", environments=16)
    if own.is_own(name):
        return Task(*own.split(name), f"a task of your own, {name}")
    known = tasks()
    if name not in known:
        raise SettingError(unknown("task", name, known), "task")
    return known[name]


def find_method(name: str) -> Method:
    """A method by its name; imports nothing of it.

    Raises:
        SettingError: for another name.
    """
    if name not in METHODS:
        raise SettingError(unknown("method", name, METHODS), "method")
    return METHODS[name]


def is_robot(name: str) -> bool:
    """Whether a task is an MJCF file."""
    return name.endswith(".xml")


def short_name(task: str) -> str:
    """A task's name without the path to its file, for titles and folders."""
    if own.is_own(task):
        place, maker = own.split(task)
        return f"{Path(place).stem if place.endswith('.py') else place}.{maker}"
    return Path(task).stem if is_robot(task) else task
