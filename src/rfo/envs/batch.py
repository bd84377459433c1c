"""Episodes over a task: clocks, automatic reset, and containment of non-finite environments.

The observation *before* a reset (`BatchStep.next_observation`) is kept apart from the one after
it (`BatchState.observation`): a bootstrap value must use the former. Resets select with `where`
on the state, so a reset does not touch the gradient of the other environments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo.envs.base import Environment, EnvSpec
from rfo.errors import SettingError
from rfo.types import Array, Bool, Float, Int, Observation, PRNGKey, PyTree

OBSERVATION_LIMIT = 1e6
"""An observation beyond this magnitude counts as non-finite."""


class BatchState(NamedTuple):
    """State of B environments between two control steps; plain data, safe to checkpoint."""

    task: PyTree
    observation: Observation
    elapsed: Int[Array, " B"]
    """Control steps taken in the current episode."""
    episode_return: Float[Array, " B"]
    """Undiscounted rewards summed so far in the current episode."""
    whole: Bool[Array, " B"]
    """Whether the current episode was seen from its beginning."""
    key: PRNGKey


class GradientProbe(NamedTuple):
    """Zeros that `Batch.step` takes; their gradient counts the gradients that it dropped.

    Only the backward pass knows what it drops, so it reports the count as a gradient. For any loss
    computed from results of `step`, the derivative with respect to `environments` is the number of
    control steps at which that environment's gradient was dropped. The derivative with respect to
    `arrays[name]` counts the steps at which the gradient was not finite in that array: "action", or
    the path of an array in the task's state, as in "state.velocity".
    """

    environments: Float[Array, " B"]
    arrays: dict[str, Float[Array, " B"]]


class BatchStep(NamedTuple):
    """What one control step of the batch yields."""

    state: BatchState
    """After automatic resets."""
    next_observation: Observation
    """Observation before any reset: the one to bootstrap from."""
    reward: Float[Array, " B"]
    terminated: Bool[Array, " B"]
    truncated: Bool[Array, " B"]
    nonfinite: Bool[Array, " B"]
    """Environments whose state, observation or reward was not finite; they count as terminated,
    with reward 0, and restart."""
    episode_return: Float[Array, " B"]
    """Return of the episode up to and including this step, final where `done`; NaN if the episode
    was not seen from its beginning."""
    episode_length: Int[Array, " B"]
    """Control steps of the episode so far."""
    duration: Int[Array, " B"]
    """Control steps that this step took: 1, or the number executed of a chunk."""

    @property
    def done(self) -> Bool[Array, " B"]:
        """Environments whose episode ended at this step."""
        return self.terminated | self.truncated


class Batch:
    """`size` copies of a task with automatic reset.

    Args:
        task: the environment.
        size: number of environments B, at least 1.

    Raises:
        SettingError: if `size` is not positive.

    Example:
        >>> import jax, rfo
        >>> env = rfo.Batch(rfo.make("lqr").task, size=4)
        >>> env.init(jax.random.key(0)).observation.shape
        (4, 2)
    """

    def __init__(self, task: Environment, size: int):
        if size < 1:
            raise SettingError(
                f"number of environments must be at least 1, not {size}", field="environments"
            )
        self.task = task
        self.size = size

    @property
    def spec(self) -> EnvSpec:
        """The task's specification."""
        return self.task.spec

    @property
    def stride(self) -> int:
        """Control steps of one call of `step`, which is one decision of the policy."""
        return 1

    def resized(self, size: int) -> Batch:
        """The same with another number of environments."""
        return Batch(self.task, size)

    def init(self, key: PRNGKey) -> BatchState:
        """Start B episodes."""
        key, reset_key = jax.random.split(key)
        task = self.task.reset(reset_key, self.size)
        return BatchState(
            task=task,
            observation=self.task.observe(task),
            elapsed=jnp.zeros(self.size, jnp.int32),
            episode_return=jnp.zeros(self.size),
            whole=jnp.ones(self.size, bool),
            key=key,
        )

    def staggered(self, key: PRNGKey) -> BatchState:
        """Start B episodes for training at random ages, so that a rollout sees all ages.

        If no episode ended early, equal clocks would stay equal forever. Each rollout would show
        the critic one stretch of an episode, and the critic would forget the others. The first
        episodes are cut short. The bootstrap allows for that; their returns are not recorded.
        """
        start_key, age_key = jax.random.split(key)
        age = jax.random.randint(age_key, (self.size,), 0, self.spec.episode_length)
        return self.init(start_key)._replace(elapsed=age, whole=age == 0)

    def probe(self, state: BatchState) -> GradientProbe:
        """Probe for rollouts from `state`: differentiate in it to count dropped gradients."""
        names = [name for name, _ in _floating({"state": state.task, "action": 0.0})]
        zero = jnp.zeros(self.size, jnp.float32)
        return GradientProbe(zero, dict.fromkeys(names, zero))

    def step(
        self, state: BatchState, action: Float[Array, "B A"], probe: GradientProbe | None = None
    ) -> BatchStep:
        """One control step, then reset of the environments whose episode ended.

        Args:
            state: state of the B environments.
            action: action of each environment, in [-1, 1].
            probe: the result of `probe`, to count the gradients that are dropped.
        """
        inputs = {"state": state.task, "action": action}
        inputs = contain_gradient(inputs, self.probe(state) if probe is None else probe)
        task_state, action = inputs["state"], inputs["action"]
        outcome = self.task.step(task_state, action)
        healthy = _all_numbers(jnp.isfinite, (outcome.state, outcome.observation, outcome.reward))
        healthy &= _all_numbers(lambda x: jnp.abs(x) <= OBSERVATION_LIMIT, outcome.observation)

        key, reset_key = jax.random.split(state.key)
        fresh = self.task.reset(reset_key, self.size)
        fresh_observation = self.task.observe(fresh)

        reward = jnp.where(healthy, outcome.reward, 0.0)
        next_observation = where_env(healthy, outcome.observation, fresh_observation)
        elapsed = state.elapsed + 1
        episode_return = state.episode_return + jax.lax.stop_gradient(reward)
        terminated = outcome.terminated | ~healthy
        truncated = (elapsed >= self.spec.episode_length) & ~terminated
        done = terminated | truncated

        after = BatchState(
            task=where_env(done, fresh, outcome.state),
            observation=where_env(done, fresh_observation, next_observation),
            elapsed=jnp.where(done, 0, elapsed),
            episode_return=jnp.where(done, 0.0, episode_return),
            whole=done | state.whole,
            key=key,
        )
        return BatchStep(
            state=after,
            next_observation=next_observation,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            nonfinite=~healthy,
            episode_return=jnp.where(state.whole, episode_return, jnp.nan),
            episode_length=elapsed,
            duration=jnp.ones_like(elapsed),
        )


def where_env(mask: Bool[Array, " B"], if_true: PyTree, if_false: PyTree) -> PyTree:
    """Select whole environments: `mask` (B,) against arrays with the leading axis B."""

    def select(x: Array, y: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 1)), x, y)

    return jax.tree.map(select, if_true, if_false)


def _all_numbers(passes: Callable[[Array], Array], tree: PyTree) -> Bool[Array, " B"]:
    """Environments in which every floating-point number passes."""
    flags = [_by_environment(passes(x)) for _, x in _floating(tree)]
    return jnp.stack(flags).all(axis=0)


def _by_environment(passes: Bool[Array, "B ..."]) -> Bool[Array, " B"]:
    return jnp.all(passes.reshape(passes.shape[0], -1), axis=-1)


def _floating(tree: PyTree) -> list[tuple[str, Array]]:
    """Floating-point arrays of a tree with their paths, as in "state.velocity"."""
    return [
        (jax.tree_util.keystr(path, simple=True, separator="."), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    ]


@jax.custom_vjp
def contain_gradient(tree: PyTree, probe: GradientProbe) -> PyTree:
    """Return `tree`; the backward pass drops the gradient of environments where it is not finite.

    The `where` that masks a diverged environment makes its cotangent 0. But 0 times an infinite
    derivative is NaN, and a sum over the batch would carry that NaN into every weight.

    Args:
        tree: arrays with the leading axis B.
        probe: its gradient is 1 where an environment's gradient was dropped, see `GradientProbe`.
    """
    return tree


def _contain_forward(tree: PyTree, probe: GradientProbe) -> tuple[PyTree, None]:
    return tree, None


def _contain_backward(_: None, cotangent: PyTree) -> tuple[PyTree, GradientProbe]:
    # the cotangent of an integer has JAX's type float0; it is passed on as it is
    finite = {name: _by_environment(jnp.isfinite(x)) for name, x in _floating(cotangent)}
    kept = jnp.stack(list(finite.values())).all(axis=0)

    def mask(x: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        return jnp.where(kept.reshape(kept.shape + (1,) * (x.ndim - 1)), x, 0.0)

    dropped = {name: (~flags).astype(jnp.float32) for name, flags in finite.items()}
    return jax.tree.map(mask, cotangent), GradientProbe((~kept).astype(jnp.float32), dropped)


contain_gradient.defvjp(_contain_forward, _contain_backward)
