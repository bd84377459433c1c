"""Train a task of your own with RFO: a point mass flies to a random target and brakes there.

    python examples/own_task.py              # the loop below, without a run folder
    rfo train examples/own_task.py:Point     # with curves, checkpoints, evaluation

A task consists of its `spec` and three methods on batches: `reset`, `observe` and `step`. The
reward and the next state must be JAX functions of state and action; then RFO can differentiate
them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

import rfo


class PointState(NamedTuple):
    """State of B point masses."""

    position: jax.Array
    """Position relative to the target [m], (B, 2)."""
    velocity: jax.Array
    """Velocity [m/s], (B, 2)."""


class Point:
    """A point mass in the plane.

    Action (2): acceleration, 4 m/s^2 times the action. Reward: minus the distance to the target
    [m].
    """

    spec = rfo.EnvSpec("point", observation=4, action_size=2, episode_length=50, dt=0.05)

    def reset(self, key, batch):
        position = jax.random.uniform(key, (batch, 2), minval=-1.0, maxval=1.0)
        return PointState(position, jnp.zeros((batch, 2)))

    def observe(self, state):
        return jnp.concatenate([state.position, state.velocity], axis=-1)

    def step(self, state, action):
        velocity = state.velocity + self.spec.dt * 4 * jnp.clip(action, -1, 1)
        state = PointState(state.position + self.spec.dt * velocity, velocity)
        reward = -jnp.sqrt(jnp.sum(state.position**2, axis=-1) + 1e-4)
        terminated = jnp.zeros(len(reward), bool)
        return rfo.Step(state, self.observe(state), reward, terminated)


def main(updates=200):
    env = rfo.Batch(Point(), 64)
    algorithm = rfo.RFO(
        schedule=rfo.Schedule(updates),
        network=rfo.Network(hidden=(64, 64)),
        critic=rfo.Critic(hidden=(64, 64)),
    )

    def mean_return(state):
        return rfo.evaluate(algorithm.policy(state), env, deterministic=True)["mean"]

    state = algorithm.init(jax.random.key(0), env)
    before = mean_return(state)
    update = jax.jit(lambda state: algorithm.update(state, env))
    for _ in range(updates):
        state, _ = update(state)
    steps, after = updates * algorithm.horizon * env.size, mean_return(state)
    print(f"mean return {before:.1f} before training, {after:.1f} after {steps:,} steps")
    return before, after


if __name__ == "__main__":
    main()
