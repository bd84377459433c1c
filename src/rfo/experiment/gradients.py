"""Check a task's gradient against central differences: what `rfo check-grad` runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rfo.errors import SettingError
from rfo.experiment.build import build_task, refuse_modes
from rfo.experiment.catalogue import find_task, short_name
from rfo.experiment.presets import Task
from rfo.experiment.record import TaskSettings, require_positive, require_seed
from rfo.training.guard import names

if TYPE_CHECKING:
    from rfo.envs.base import Environment
    from rfo.envs.batch import BatchState, GradientProbe
    from rfo.physics.gradcheck import Direction, Report
    from rfo.types import Array, Float, PRNGKey, PyTree


@dataclass(frozen=True)
class GradientCheck:
    """The check of one rollout: where it started, and its control steps."""

    start: str
    """reset; approached, after `Task.approach`; or settled, after some steps of small random
    actions."""
    steps: int
    report: Report
    dropped: dict[str, float]
    """Arrays in which the gradient is not finite somewhere in the longest rollout from this start,
    the worst first. A training drops it there; the values are the shares of the environments'
    steps. Arrays are "action" and those of the task's state, as in "state.velocity"."""

    @property
    def ok(self) -> bool:
        """Whether the gradient is right and a training would use all of it."""
        return self.report.ok and not self.dropped

    @property
    def complaint(self) -> str | None:
        """One line about a gradient that is not finite, by array; None if it is."""
        if not self.dropped:
            return None
        arrays = names([f"{name} ({share:.0%})" for name, share in self.dropped.items()])
        return (
            f"from {self.start}: the gradient is not finite in {arrays} of the environments' "
            f"steps; a training drops it"
        )


@dataclass(frozen=True, repr=False)
class GradientReport:
    """What `check_gradient` found. It prints as a table.

    Example:
        >>> import rfo
        >>> report = rfo.check_gradient("lqr", environments=4, horizons=(1, 3))
        >>> report.passed, report.worst_error < 1e-3
        (True, True)
        >>> report.rows[0]["start"], report.rows[0]["steps"], report.rows[0]["direction"]
        ('reset', 1, 'gradient')
    """

    task: str
    checks: tuple[GradientCheck, ...]
    """One for each start and horizon."""

    @property
    def passed(self) -> bool:
        """Whether the gradient is right.

        A right gradient is finite and nowhere wrong. At least the shortest horizon from each start
        must have been judged. Over the longest horizon it must not be zero everywhere; over a short
        one it may be, because a task may pay only later.
        """
        shortest = min(check.steps for check in self.checks)
        longest = max(check.steps for check in self.checks)
        return (
            all(check.ok for check in self.checks)
            and all(check.report.conclusive for check in self.checks if check.steps == shortest)
            and all(check.report.alive > 0 for check in self.checks if check.steps == longest)
        )

    @property
    def worst_error(self) -> float:
        """Largest median relative error of the directions that could be judged.

        It is infinite if the gradient is not finite, and NaN if no direction could be judged."""
        reports = [check.report for check in self.checks]
        errors = [r.worst_error for r in reports if r.conclusive or not r.finite]
        return max(errors, default=float("nan"))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each check and direction, ready for pandas.

        ``start``, ``steps``, ``direction``, ``adjoint`` and ``difference`` (medians of their
        absolute values over the environments), ``error`` (relative, the median), ``converged``
        (share of the environments whose differences do), ``within`` (share of these with an error
        within the tolerance), and ``verdict``: right, wrong, or rough where too few converge.
        """
        return [
            {"start": check.start, "steps": check.steps, **_row(direction)}
            for check in self.checks
            for direction in check.report.directions
        ]

    def __rich__(self) -> Any:
        from rfo.experiment.gradient_table import tables

        return tables(self)

    def __repr__(self) -> str:
        from rfo.experiment.gradient_table import as_text

        return as_text(self)


def _row(direction: Direction) -> dict[str, Any]:
    import numpy as np

    return {
        "direction": direction.name,
        "adjoint": float(np.median(np.abs(direction.analytic))),
        "difference": float(np.median(np.abs(direction.difference))),
        "error": direction.median_error,
        "converged": float(direction.converged.mean()),
        "within": direction.within,
        "verdict": "wrong" if direction.wrong else "right" if direction.judged else "rough",
    }


def check_gradient(
    task: str | Environment,
    environments: int = 32,
    horizons: tuple[int, ...] = (1, 8, 32),
    settling_steps: int = 40,
    *,
    seed: int = 0,
    threads: int | None = None,
    parameters: bool = False,
    **options: Any,
) -> GradientReport:
    """Check a task's gradient of the return in random actions, over several horizons.

    The rollouts start at reset or after `Task.approach` and, for a task on the physics engine, also
    where it has settled, in contact if it has any. A task that is `Task.fine` is checked in double
    precision.

    Args:
        task: name of a known task, an MJCF file, a task of your own as ``my_task.py:Reach``; or the
            task itself.
        environments: independent rollouts B.
        horizons: control steps of the rollouts.
        settling_steps: control steps before the settled start.
        seed: seed of states, actions and directions.
        threads: CPU threads of the physics.
        parameters: check the gradient in the parameters of its simulator, each array by itself, in
            place of that in the actions.
        options: the task's own settings, for a task that is named.

    Raises:
        SettingError: for an unknown task or option, or values out of range.

    Example:
        >>> import rfo
        >>> rfo.check_gradient("lqr", environments=4, horizons=(1, 3)).passed
        True
    """
    if isinstance(task, str):
        name, chosen = short_name(task), TaskSettings(task, options)
    else:
        name, chosen = task.spec.name, task
    checks = gradient_checks(
        chosen, environments, horizons, settling_steps, seed, threads, parameters
    )
    return GradientReport(name, tuple(checks))


def gradient_checks(
    task: TaskSettings | Environment,
    environments: int = 32,
    horizons: tuple[int, ...] = (1, 8, 32),
    settling_steps: int = 40,
    seed: int = 0,
    threads: int | None = None,
    parameters: bool = False,
) -> Iterator[GradientCheck]:
    """The checks of `check_gradient`; each runs when the iterator comes to it."""
    import jax

    require_positive(environments=environments, horizons=min(horizons, default=0))
    require_seed(seed)
    refuse_modes(double=True)
    entry: Task = Task("", "", "")
    env: Any = task
    if isinstance(task, TaskSettings):
        entry = find_task(task.name)
        with jax.enable_x64(entry.fine):
            env = build_task(task, threads, **({"dtype": "float64"} if entry.fine else {}))
    if parameters:
        require_parameters(env)
    checks = _checks(entry, env, environments, horizons, settling_steps, seed, parameters)
    return _in_precision(checks, entry)


def require_parameters(task: Environment) -> None:
    """Refuse a task that takes no parameters of a simulator.

    Raises:
        SettingError: naming what it lacks.
    """
    if "parameters" in inspect.signature(task.step).parameters:
        return
    raise SettingError(
        f"the step of {task.spec.name} takes no parameters of a simulator, as in "
        "step(state, action, parameters=None)",
        "parameters",
    )


def _in_precision(checks: Iterator[GradientCheck], entry: Task) -> Iterator[GradientCheck]:
    """The checks in the task's precision, in this thread, and not while the caller is at work."""
    import jax

    while True:
        with jax.enable_x64(entry.fine):
            check = next(checks, None)
        if check is None:
            return
        yield check


def _checks(
    entry: Task,
    env: Any,
    environments: int,
    horizons: tuple[int, ...],
    settling_steps: int,
    seed: int,
    parameters: bool,
) -> Iterator[GradientCheck]:
    import jax

    from rfo.envs.base import open_loop
    from rfo.physics.gradcheck import STEP_SIZES, check, check_parts
    from rfo.physics.parameters import displaced, parts

    sizes = [size * (1e-3 if entry.fine else 1.0) for size in STEP_SIZES]
    reset_key, settle_key, action_key, check_key = jax.random.split(jax.random.key(seed), 4)
    room = 0.8  # leaves the largest step of the check inside the actions' bounds

    def actions(key: PRNGKey, steps: int, largest: float) -> Array:
        shape = (steps, environments, env.spec.action_size)
        return jax.random.uniform(key, shape, minval=-largest, maxval=largest)

    roll = partial(open_loop, env)
    state = jax.jit(lambda key: env.reset(key, environments))(reset_key)
    starts = {"reset": state}
    if entry.approach is not None:
        action, steps = entry.approach
        state, _ = jax.jit(roll)(
            state, jax.numpy.tile(jax.numpy.array(action), (steps, environments, 1))
        )
        starts = {"approached": state}
    if entry.simulated or hasattr(env, "simulator"):
        warm_up = actions(settle_key, settling_steps, largest=0.2)
        starts["settled"] = jax.jit(roll)(state, warm_up)[0]
    for start, state in starts.items():
        dropped = dropped_gradients(env, state, actions(action_key, max(horizons), largest=room))
        for steps in horizons:
            controls = actions(action_key, steps, largest=room)
            if parameters:
                own = env.simulator.parameters
                numbers = sum(x.size for x in own)
                report = check_parts(
                    lambda x, state=state, controls=controls, own=own: roll(
                        state, controls, parameters=displaced(own, x[0])
                    )[1],
                    jax.numpy.zeros((1, environments, numbers), controls.dtype),
                    parts(own),
                    check_key,
                    step_sizes=sizes,
                )
            else:
                report = check(
                    lambda x, state=state: roll(state, x)[1], controls, check_key, step_sizes=sizes
                )
            yield GradientCheck(start, steps, report, dropped)


def dropped_gradients(
    task: Environment, state: PyTree, actions: Float[Array, "T B A"]
) -> dict[str, float]:
    """Share of the environments' steps at which a training drops the gradient, by array.

    Args:
        task: what to roll out; its gradient is that of the return.
        state: where B environments start.
        actions: of each control step.

    Returns:
        Arrays in which the gradient is not finite anywhere, the worst first.
    """
    import jax

    from rfo.envs.batch import Batch

    env = Batch(task, actions.shape[1])
    start = env.init(jax.random.key(0))._replace(task=state, observation=task.observe(state))

    @jax.jit
    @jax.grad
    def counts(probe: GradientProbe) -> Array:
        def advance(state: BatchState, action: Array) -> tuple[BatchState, Array]:
            out = env.step(state, action, probe)
            return out.state, out.reward

        return jax.lax.scan(advance, start, actions)[1].sum()

    shares = {name: float(x.mean()) for name, x in counts(env.probe(start)).arrays.items()}
    worst_first = sorted(shares, key=lambda name: -shares[name])
    return {name: shares[name] / len(actions) for name in worst_first if shares[name] > 0}
