"""Pendulum: the swing-up of Gymnasium, whose scores by other people's methods are public."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo.envs.base import EnvSpec, Step
from rfo.types import Array, Float, PRNGKey

GRAVITY = 10.0
"""[m/s^2]"""
MASS = 1.0
"""[kg]"""
LENGTH = 1.0
"""[m]"""
MAX_SPEED = 8.0
"""[rad/s]"""
MAX_TORQUE = 2.0
"""[N m]"""
START_SPEED = 1.0
"""[rad/s]"""


class PendulumState(NamedTuple):
    """Angle from upright, not wrapped [rad], and its velocity [rad/s]."""

    angle: Float[Array, " B"]
    speed: Float[Array, " B"]


class Pendulum:
    """Pendulum-v1 of Gymnasium: swing a rod up with a torque too weak to lift it.

    **Action** (1): the torque is 2 N m times the action.

    **Observation** (3): cosine and sine of the angle, angular velocity [rad/s].

    **Reward**: ``-(angle^2 + 0.1 speed^2 + 0.001 torque^2)`` of the state before the step, the angle wrapped
    to [-pi, pi). Never terminates; truncated after 200 steps of 0.05 s.

    **Step**: a uniform rod under gravity 10 m/s^2, semi-implicit Euler, its speed clipped to 8 rad/s.

    **Reset**: angle uniform in [-pi, pi], speed in [-1, 1].
    """

    spec = EnvSpec("pendulum", observation=3, action_size=1, episode_length=200, dt=0.05)

    def reset(self, key: PRNGKey, batch: int) -> PendulumState:
        """See the class."""
        unit = jax.random.uniform(key, (2, batch), minval=-1.0, maxval=1.0)
        return PendulumState(jnp.pi * unit[0], START_SPEED * unit[1])

    def observe(self, state: PendulumState) -> Float[Array, "B 3"]:
        """See the class."""
        return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.speed], axis=-1)

    def step(self, state: PendulumState, action: Float[Array, "B 1"]) -> Step:
        """See the class."""
        torque = MAX_TORQUE * jnp.clip(action[:, 0], -1.0, 1.0)
        wrapped = (state.angle + jnp.pi) % (2 * jnp.pi) - jnp.pi
        reward = -(wrapped**2 + 0.1 * state.speed**2 + 0.001 * torque**2)
        fall = 1.5 * GRAVITY / LENGTH * jnp.sin(state.angle)
        speed = state.speed + self.spec.dt * (fall + 3.0 / (MASS * LENGTH**2) * torque)
        speed = jnp.clip(speed, -MAX_SPEED, MAX_SPEED)
        after = PendulumState(state.angle + self.spec.dt * speed, speed)
        return Step(after, self.observe(after), reward, jnp.zeros(len(reward), bool))
