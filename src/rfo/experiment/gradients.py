"""Check a registered task's gradient: what `rfo check-grad` runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rfo.experiment.build import build_task, task_entry

if TYPE_CHECKING:
    from rfo.physics.gradcheck import Report
    from rfo.types import Array, PRNGKey


@dataclass(frozen=True)
class GradientCheck:
    """One report of `check_gradient`: control steps of the rollout and where it started."""

    start: str
    """reset; approached, after `Task.approach`; or settled, after more steps of small random actions."""
    steps: int
    report: Report


def check_gradient(
    task: str,
    environments: int = 32,
    horizons: tuple[int, ...] = (1, 8, 32),
    settling_steps: int = 40,
    seed: int = 0,
    threads: int | None = None,
) -> Iterator[GradientCheck]:
    """Check a task's gradient of the return in random actions, over several horizons: from reset or after
    `Task.approach` and, for a task on the physics engine, from where it has settled, in contact if it has
    any. A task that is `Task.fine` is checked in double precision.

    Args:
        task: registered name.
        environments: independent rollouts B.
        horizons: control steps of the rollouts.
        settling_steps: control steps before the settled start.
        seed: of states, actions and directions.
        threads: CPU threads of the physics.
    """
    import jax

    checks = _checks(task, environments, horizons, settling_steps, seed, threads)
    fine = task_entry(task).fine
    while True:
        with jax.enable_x64(fine):  # in this thread, and not while the caller is at work
            check = next(checks, None)
        if check is None:
            return
        yield check


def _checks(
    task: str,
    environments: int,
    horizons: tuple[int, ...],
    settling_steps: int,
    seed: int,
    threads: int | None,
) -> Iterator[GradientCheck]:
    import jax

    from rfo.envs.base import open_loop
    from rfo.physics.gradcheck import STEP_SIZES, check

    entry = task_entry(task)
    env = build_task(task, threads, **({"dtype": "float64"} if entry.fine else {}))
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
    if entry.simulated:
        warm_up = actions(settle_key, settling_steps, largest=0.2)
        starts["settled"] = jax.jit(roll)(state, warm_up)[0]
    for start, state in starts.items():
        for steps in horizons:
            controls = actions(action_key, steps, largest=room)
            report = check(
                lambda x, state=state: roll(state, x)[1], controls, check_key, step_sizes=sizes
            )
            yield GradientCheck(start, steps, report)


def gradient_verdict(checks: Sequence[GradientCheck]) -> tuple[bool, float]:
    """Whether a task's gradient is right, and the worst relative error.

    Right: nowhere wrong, judged at least over the shortest horizon from each start, and alive over the
    longest one (over a short one a task may well pay later than it looks).
    """
    shortest, longest = min(c.steps for c in checks), max(c.steps for c in checks)
    ok = (
        all(c.report.ok for c in checks)
        and all(c.report.conclusive for c in checks if c.steps == shortest)
        and all(c.report.alive > 0 for c in checks if c.steps == longest)
    )
    errors = [c.report.worst_error for c in checks if c.report.conclusive or not c.report.finite]
    return ok, max(errors, default=float("nan"))
