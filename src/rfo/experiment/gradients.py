"""Check a registered task's gradient: what `rfo check-grad` runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rfo.experiment.build import build_task, refuse_modes
from rfo.experiment.catalogue import find_task

if TYPE_CHECKING:
    from rfo.envs.base import Environment
    from rfo.envs.batch import BatchState, GradientProbe
    from rfo.physics.gradcheck import Report
    from rfo.types import Array, Float, PRNGKey, PyTree


@dataclass(frozen=True)
class GradientCheck:
    """One report of `check_gradient`: control steps of the rollout and where it started."""

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


def check_gradient(
    task: str,
    environments: int = 32,
    horizons: tuple[int, ...] = (1, 8, 32),
    settling_steps: int = 40,
    seed: int = 0,
    threads: int | None = None,
) -> Iterator[GradientCheck]:
    """Check a task's gradient of the return in random actions, over several horizons.

    The rollouts start at reset or after `Task.approach` and, for a task on the physics engine, also
    where it has settled, in contact if it has any. A task that is `Task.fine` is checked in double
    precision.

    Args:
        task: registered name.
        environments: independent rollouts B.
        horizons: control steps of the rollouts.
        settling_steps: control steps before the settled start.
        seed: seed of states, actions and directions.
        threads: CPU threads of the physics.

    Example:
        >>> import rfo
        >>> checks = list(rfo.check_gradient("lqr", environments=4, horizons=(1, 3)))
        >>> all(check.ok for check in checks)
        True
    """
    import jax

    refuse_modes(double=True)
    checks = _checks(task, environments, horizons, settling_steps, seed, threads)
    fine = find_task(task).fine
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

    entry = find_task(task)
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
        dropped = dropped_gradients(env, state, actions(action_key, max(horizons), largest=room))
        for steps in horizons:
            controls = actions(action_key, steps, largest=room)
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


def gradient_verdict(checks: Sequence[GradientCheck]) -> tuple[bool, float]:
    """Whether a task's gradient is right, and the worst relative error.

    It is right if it is finite and wrong nowhere, judged over the shortest horizon from each start
    at least, and not zero everywhere over the longest one. (Over a short one a task may well pay
    only later.)
    """
    shortest, longest = min(c.steps for c in checks), max(c.steps for c in checks)
    ok = (
        all(c.ok for c in checks)
        and all(c.report.conclusive for c in checks if c.steps == shortest)
        and all(c.report.alive > 0 for c in checks if c.steps == longest)
    )
    errors = [c.report.worst_error for c in checks if c.report.conclusive or not c.report.finite]
    return ok, max(errors, default=float("nan"))
