"""Action chunks: one decision of the policy is several control steps, executed open loop.

To an algorithm a chunk is a larger action: C actions at once, from one draw of noise. What it earns is the
discounted sum of its control steps' rewards, and the gradient runs through all of them. Critics see the
states between chunks only, and discount by the control steps that a chunk took.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from rfo.envs.base import Environment, EnvSpec
from rfo.envs.batch import Batch, BatchState, BatchStep, where_env
from rfo.types import Array, Float


class ChunkedBatch(Batch):
    """`size` copies of a task whose actions are chunks (B, C A), the C actions one after the other.

    An episode may end inside a chunk. Its environment then waits for the others at its next episode's
    start, where the next chunk will find it: the rest of the chunk is dropped, earns nothing and has no
    gradient. What the observation tells of the last action is that of the last one executed.

    Args:
        task: the environment.
        size: number of environments B, at least 1.
        chunk: actions C of one decision, at least 1.
        discount: of one control step, on the rewards inside a chunk.
        executed: how many of a chunk's actions are carried out before the next decision (receding
            horizon); None for all. Those left over are never tried and get no gradient from rewards.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(
        self, task: Environment, size: int, chunk: int, discount: float, executed: int | None = None
    ):
        super().__init__(task, size)
        if chunk < 1:
            raise ValueError(f"a chunk must hold at least 1 action, not {chunk}")
        if executed is not None and not 1 <= executed <= chunk:
            raise ValueError(
                f"of a chunk of {chunk} actions 1 to {chunk} can be executed, not {executed}"
            )
        self.chunk, self.discount = chunk, discount
        self.executed = chunk if executed is None else executed

    @property
    def spec(self) -> EnvSpec:
        """The task's specification with the chunk for an action; times stay those of control steps."""
        return dataclasses.replace(
            self.task.spec, action_size=self.chunk * self.task.spec.action_size
        )

    @property
    def stride(self) -> int:
        """Control steps of one decision."""
        return self.executed

    def resized(self, size: int) -> ChunkedBatch:
        """The same with another number of environments."""
        return ChunkedBatch(self.task, size, self.chunk, self.discount, self.executed)

    def step(self, state: BatchState, action: Float[Array, "B CA"]) -> BatchStep:
        """The control steps of one chunk; `duration` tells how many each environment took."""
        first, *others = jnp.moveaxis(action.reshape(self.size, self.chunk, -1), 1, 0)[
            : self.executed
        ]
        start = super().step(state, first)
        if not others:
            return start

        def advance(so_far: BatchStep, each: tuple[Array, Array]) -> tuple[BatchStep, None]:
            action, discount = each
            step = super(ChunkedBatch, self).step(so_far.state, action)
            return _joined(so_far, step, discount), None

        discounts = jnp.asarray(self.discount) ** jnp.arange(1, self.executed)
        return jax.lax.scan(advance, start, (jnp.stack(others), discounts))[0]


def _joined(so_far: BatchStep, step: BatchStep, discount: Float[Array, ""]) -> BatchStep:
    """A chunk's steps so far and one more, which counts for the environments whose episode goes on."""
    key = step.state.key  # the batch's; everything else belongs to an environment
    longer = step._replace(
        reward=so_far.reward + discount * step.reward, duration=so_far.duration + step.duration
    )
    keyless = [x._replace(state=x.state._replace(key=None)) for x in (so_far, longer)]
    joined = where_env(so_far.done, *keyless)
    return joined._replace(state=joined.state._replace(key=key))
