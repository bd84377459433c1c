"""The settings of an experiment as options, for `rfo train` and `rfo show`.

Which options there are depends on the method and on the task. Their defaults are the preset's, or
those of the file that --config names.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from rfo.cli import options
from rfo.cli.options import FLAT, TaskName, Threads, value_of
from rfo.errors import SettingError
from rfo.experiment import build, own
from rfo.experiment.catalogue import find_task, is_robot, tasks
from rfo.experiment.nested import alternatives, required_fields
from rfo.experiment.presets import TASKS
from rfo.experiment.record import Evaluation, Experiment, TaskSettings, preset, scheduled

Executed = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")]
MjcfFile = Annotated[
    str | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")
]
ConfigFile = Annotated[
    Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")
]
VALUED = ("--out", "--algo", "--config", "--wandb", "--reward", "--from", "--data")
"""Options whose value is not the task, whatever it looks like."""


@dataclass(frozen=True)
class TaskChoice:
    """The options that choose a task, and those of the task itself."""

    task_options: Any = None
    task: TaskName = ""
    """What to use: a name that `rfo list` shows; a robot's MJCF file, as with --mjcf; another
    package's environment as brax:ant, playground:CartpoleBalance or gymnax:Pendulum-v1; or a task
    of your own as my_task.py:Reach or my_package.tasks:Reach, see `rfo new-task`."""
    mjcf: MjcfFile = None
    """Robot to use in place of a task: its MJCF file, which ends in .xml."""

    def chosen(self, base: TaskSettings | None = None) -> TaskSettings:
        """The task with its settings, where `base` is what the options were preset to, if any."""
        if self.task and self.mjcf:
            raise SettingError(f"name {self.task} or --mjcf {self.mjcf}, not both", "task")
        if self.mjcf and not is_robot(self.mjcf):
            raise SettingError(
                f"--mjcf takes an MJCF file, which ends in .xml, not {self.mjcf}", "mjcf"
            )
        name = self.mjcf or self.task or (base.name if base else "")
        if not name:
            raise SettingError(f"name a task, such as {', '.join(tasks())}", "task")
        find_task(name)
        return TaskSettings(name, _given_options(self.task_options, base))


@dataclass(frozen=True)
class Settings(TaskChoice):
    """The options of an experiment that do not depend on the method or the task."""

    hyperparameters: Any = None
    algo: str = "rfo"
    """Method: rfo, sapo, soft_flow, shac, apg, ppo, sac or fpo; or a variant, see `rfo list`."""
    config: ConfigFile = None
    """TOML file of settings, as `rfo show` prints them, or a run's config.json. Options override
    it."""
    steps: int = 1_000_000
    """Environment steps to train, rounded up to whole updates."""
    envs: int = 64
    """Environments simulated in parallel."""
    chunk: int = 1
    """Actions of one decision: the policy draws this many at once, and they are carried out open
    loop."""
    executed: Executed = None
    """How many of them are carried out before the next decision."""
    seed: int = 0
    """Random seed. The same seed gives the same numbers."""
    threads: Threads = None
    devices: int = 1
    """Devices that share the environments, or the seeds where several train together."""
    checkpoint_every: int = 100
    """Updates between checkpoints."""
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)

    def experiment(self, base: Experiment) -> Experiment:
        """The experiment that the options describe, `base` being what they were preset to."""
        return scheduled(
            Experiment(
                self.chosen(base.task if self.config else None),
                _algorithm(self.hyperparameters, base),
                environments=self.envs,
                chunk=self.chunk,
                executed=self.executed,
                steps=self.steps,
                seed=self.seed,
                threads=self.threads,
                devices=self.devices,
                checkpoint_every=self.checkpoint_every,
                evaluation=self.evaluation,
                method=base.method,
            )
        )


def parse(kind: type, name: str, arguments: list[str]) -> tuple[Any, Callable[[], Experiment]]:
    """Read the options of a command that makes an experiment.

    Args:
        kind: subclass of `Settings`.
        name: the command's.
        arguments: words after the command's name.

    Returns:
        the command, and what makes the experiment that its options describe.

    Raises:
        SettingError: for options that are refused.
    """
    base = _base(arguments)
    hidden = _hide_schedule(base.algorithm)
    whole, task_options = _with_task_options(
        kind, base.task, arguments, ("hyperparameters", Annotated[type(hidden), FLAT])
    )
    defaults = whole(
        hyperparameters=hidden,
        task_options=task_options,
        algo=base.method,
        steps=base.steps,
        envs=base.environments,
        chunk=base.chunk,
        executed=base.executed,
        seed=base.seed,
        threads=base.threads,
        devices=base.devices,
        checkpoint_every=base.checkpoint_every,
        evaluation=base.evaluation,
    )
    command = options.parse(whole, name, arguments, defaults)
    return command, lambda: command.experiment(base)


def parse_choice(kind: type, name: str, arguments: list[str]) -> Any:
    """Read the options of a command that takes a task.

    Args:
        kind: subclass of `TaskChoice`.
        name: the command's.
        arguments: words after the command's name.

    Raises:
        SettingError: for options that are refused.
    """
    task = TaskSettings(_task_word(arguments) or next(iter(TASKS)))
    whole, task_options = _with_task_options(kind, task, arguments)
    return options.parse(whole, name, arguments, whole(task_options=task_options))


def read_experiment(path: Path) -> Experiment:
    """An experiment from a TOML file, or from a run's config.json.

    Raises:
        SettingError: if it cannot be read, naming the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            from rfo.experiment.folder import experiment_of

            return experiment_of(json.loads(text))
        return Experiment.from_toml(text)
    except (OSError, ValueError) as error:  # SettingError among them
        reason = getattr(error, "strerror", None) or error
        raise SettingError(f"{path}: {reason}", getattr(error, "field", "config")) from None


def _base(arguments: list[str]) -> Experiment:
    """What the options are preset to."""
    task, method = _task_word(arguments), value_of("--algo", arguments)
    file = value_of("--config", arguments)
    if file is None:
        return preset(task or next(iter(TASKS)), method or "rfo")
    base = read_experiment(Path(file))
    if method not in (None, base.method):
        raise SettingError(
            f"{file} holds settings of {base.method}, not of {method}: leave out --algo, or make a "
            f"file with `rfo show {base.task.name} --algo {method}`",
            "algo",
        )
    return base if task is None else base.edited({"task": {"name": task, "options": {}}})


def _task_word(arguments: list[str]) -> str | None:
    known = tasks()
    for before, word in zip(["", *arguments], arguments, strict=False):
        placed = own.is_own(word) or own.is_adapted(word)
        named = word in known or is_robot(word) or (placed and "=" not in word)
        if named and not word.startswith("-") and before not in VALUED:
            return word
    return None


def _hide_schedule(algorithm: Any) -> Any:
    """The algorithm's record without an option for its schedule, which follows from the steps."""
    kind = type(algorithm)
    schedule = algorithm.schedule
    field = ("schedule", tyro.conf.Suppress[type(schedule)], dataclasses.field(default=schedule))
    hidden = dataclasses.make_dataclass(kind.__name__, [field], bases=(kind,), frozen=True)
    hidden.__doc__ = kind.__doc__
    return hidden(**{f.name: getattr(algorithm, f.name) for f in dataclasses.fields(algorithm)})


def _algorithm(hyperparameters: Any, base: Experiment) -> Any:
    """The hyperparameters as the algorithm's own record."""
    fields = dataclasses.fields(hyperparameters)
    kind: Any = type(base.algorithm)
    return kind(**{field.name: getattr(hyperparameters, field.name) for field in fields})


def _with_task_options(
    kind: type, task: TaskSettings, arguments: list[str], *more: tuple[str, Any]
) -> tuple[type, Any]:
    """The command's class with the task's own options and more fields; and those options' values.

    A robot's options have no prefix."""
    task_options = _task_options(task, arguments)
    prefix = FLAT if is_robot(task.name) else tyro.conf.arg(name="task")
    fields = [*more, ("task_options", Annotated[type(task_options), prefix])]
    whole = dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True)
    whole.__doc__ = kind.__doc__
    return whole, task_options


def _task_options(task: TaskSettings, arguments: list[str]) -> Any:
    """A record of the task's own options, with None for what has the constructor's default.

    A task's module is imported only where options can be expected: rfo's own tasks have none, and
    other packages take long to import.
    """
    asked = any(word.startswith("--task.") for word in arguments)
    fields: list[Any] = []
    quiet = task.name in TASKS or own.is_adapted(task.name)
    if asked or task.options or not quiet:
        maker = find_task(task.name).load()
        defaults = build.option_defaults(maker)
        for name, hint in build.option_types(maker).items():
            if (kind := _option_kind(hint)) is not None:
                about = _described(maker, name, defaults[name])
                annotated = Annotated[kind | None, about]  # pyright: ignore
                present = task.options.get(name)
                present = tuple(present) if isinstance(present, list) else present
                # a table stays where the options come from: no option can hold it
                present = None if isinstance(present, Mapping) else present
                fields.append((name, annotated, dataclasses.field(default=present)))
        fields.append(_randomise(task))
    record = dataclasses.make_dataclass("TaskOptions", fields, frozen=True)
    record.__doc__ = f"Settings of the task {task.name}."
    return record()


def _randomise(task: TaskSettings) -> tuple[str, Any, Any]:
    """The option of every task that is simulated; numbers of a file become words."""
    about = tyro.conf.arg(
        help="Domain randomisation: names and distributions, as in"
        ' `body.mass "uniform 0.8 1.2" latency "integers 0 2"`, drawn at each reset.',
        help_behavior_hint="(default: none)",
        metavar="NAME DISTRIBUTION",
    )
    present = task.options.get(build.RANDOMISE)
    present = {k: str(v) for k, v in build.flat(present)} if present else None
    kind = Annotated[dict[str, str] | None, about]
    return build.RANDOMISE, kind, dataclasses.field(default_factory=lambda: present)


def _option_kind(hint: Any) -> Any:
    """The option's type for a constructor argument's type; None if it can be no option.

    Where it may also be a table or a function, the option is the text that names one."""
    kinds = [kind for kind in alternatives(hint) if kind is not type(None)]
    if str in kinds:
        return str
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    if typing.get_origin(kind) is tuple and str in alternatives(typing.get_args(kind)[0]):
        return tuple[str, ...]
    members = required_fields(kind) if isinstance(kind, type) else []
    if members and {typing.get_type_hints(kind)[name] for name in members} == {float}:
        return tuple[(float,) * len(members)]  # pyright: ignore[reportInvalidTypeArguments]
    simple = kind in (bool, int, float, str) or getattr(kind, "__origin__", None) in (
        tuple,
        Literal,
    )
    return kind if simple else None


def _described(maker: Callable[..., Any], name: str, default: Any) -> Any:
    """Help of a task's option, from the ``Args:`` of its docstring."""
    text = inspect.getdoc(maker) or ""
    found = re.search(rf"^    {name}: (.*(?:\n        .*)*)", text, re.MULTILINE)
    needed = default is inspect.Parameter.empty
    shown = (
        "required" if needed else f"default: {'chosen by the task' if default is None else default}"
    )
    return tyro.conf.arg(
        help=" ".join(found[1].split()) if found else f"Setting {name} of the task.",
        help_behavior_hint=f"({shown})",
        metavar=_metavar(maker, name),
    )


def _metavar(maker: Callable[..., Any], name: str) -> str | None:
    kinds = [k for k in alternatives(build.option_types(maker)[name]) if k is not type(None)]
    fields = required_fields(kinds[0]) if kinds and isinstance(kinds[0], type) else []
    return " ".join(fields).upper() or None


def _given_options(record: Any, present: TaskSettings | None) -> Mapping[str, Any]:
    """The options that are set, as plain values, over those that were."""
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    given = {name: value for name, value in values.items() if value is not None}
    plain = {n: list(v) if isinstance(v, tuple) else v for n, v in given.items()}
    return {**(present.options if present else {}), **plain}
