"""Action chunks: one decision of the policy is several control steps, executed open loop.

To an algorithm a chunk is a larger action: C actions at once, from one draw of noise. Its reward is
the discounted sum of the rewards of its control steps, and the gradient runs through all of them.
Critics see only the states between chunks, and discount by the control steps that a chunk took.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from rfo.envs.base import Environment, EnvSpec
from rfo.envs.batch import Batch, BatchState, BatchStep, GradientProbe, where_env
from rfo.errors import SettingError
from rfo.types import Array, Float


class ChunkedBatch(Batch):
    """`size` copies of a task whose actions are chunks (B, C A), the C actions one after the other.

    An episode may end inside a chunk. Its environment is reset and then waits until the next chunk:
    the rest of the chunk is dropped, has no reward and no gradient. If the observation holds the
    last action, it is the last one that was executed.

    Args:
        task: the environment.
        size: number of environments B, at least 1.
        chunk: actions C of one decision, at least 1.
        discount: discount of one control step, for the rewards inside a chunk.
        executed: actions of a chunk that are executed before the next decision (receding horizon);
            None for all. The others are never tried and get no gradient from rewards.

    Raises:
        SettingError: if a number is out of range.

    Example:
        >>> import rfo
        >>> env = rfo.ChunkedBatch(rfo.make("lqr").task, size=4, chunk=2, discount=0.99)
        >>> env.spec.action_size
        2
    """

    def __init__(
        self, task: Environment, size: int, chunk: int, discount: float, executed: int | None = None
    ):
        super().__init__(task, size)
        if chunk < 1:
            raise SettingError(f"a chunk must hold at least 1 action, not {chunk}", field="chunk")
        if executed is not None and not 1 <= executed <= chunk:
            raise SettingError(
                f"of a chunk of {chunk} actions 1 to {chunk} can be executed, not {executed}",
                field="executed",
            )
        self.chunk, self.discount = chunk, discount
        self.executed = chunk if executed is None else executed

    @property
    def spec(self) -> EnvSpec:
        """The task's specification with a whole chunk as its action; times are of control steps."""
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

    def step(
        self, state: BatchState, action: Float[Array, "B CA"], probe: GradientProbe | None = None
    ) -> BatchStep:
        """The control steps of one chunk; `duration` tells how many each environment took."""
        probe = self.probe(state) if probe is None else probe
        first, *others = jnp.moveaxis(action.reshape(self.size, self.chunk, -1), 1, 0)[
            : self.executed
        ]
        start = super().step(state, first, probe)
        if not others:
            return start

        def advance(so_far: BatchStep, each: tuple[Array, Array]) -> tuple[BatchStep, None]:
            action, discount = each
            # A waiting environment's step is thrown away, so its dropped gradients do not count.
            counted = where_env(so_far.done, jax.tree.map(jnp.zeros_like, probe), probe)
            step = super(ChunkedBatch, self).step(so_far.state, action, counted)
            return _joined(so_far, step, discount), None

        discounts = jnp.asarray(self.discount) ** jnp.arange(1, self.executed)
        return jax.lax.scan(advance, start, (jnp.stack(others), discounts))[0]


def _joined(so_far: BatchStep, step: BatchStep, discount: Float[Array, ""]) -> BatchStep:
    """A chunk's steps so far and one more; the latter only where the episode goes on."""
    key = step.state.key  # belongs to the batch; everything else belongs to an environment
    longer = step._replace(
        reward=so_far.reward + discount * step.reward, duration=so_far.duration + step.duration
    )
    keyless = [x._replace(state=x.state._replace(key=None)) for x in (so_far, longer)]
    joined = where_env(so_far.done, *keyless)
    return joined._replace(state=joined.state._replace(key=key))
