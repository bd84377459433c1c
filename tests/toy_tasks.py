"""Tasks that the tests of the command line register by name."""

import jax
import jax.numpy as jnp

from rfo.envs.base import EnvSpec, Step


class AllBroken:
    """A task whose reward is always NaN."""

    spec = EnvSpec("broken", observation=1, action_size=1, episode_length=8, dt=1.0)

    def reset(self, key, batch):
        return jax.random.uniform(key, (batch, 1))

    def observe(self, state):
        return state

    def step(self, state, action):
        return Step(state, state, jnp.nan * action[:, 0], jnp.zeros(len(state), bool))
