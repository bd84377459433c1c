"""Pendulum: Gymnasium's swing-up task, for which scores of many other methods are public."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo.envs.base import Entry, EnvSpec, Step
from rfo.types import Array, Float, PRNGKey

GRAVITY = 10.0
"""Gravitational acceleration [m/s^2]."""
MASS = 1.0
"""Mass of the rod [kg]."""
LENGTH = 1.0
"""Length of the rod [m]."""
MAX_SPEED = 8.0
"""Largest angular speed; faster ones are clipped [rad/s]."""
MAX_TORQUE = 2.0
"""Torque at full action [N m]."""
START_SPEED = 1.0
"""Largest angular speed at the start [rad/s]."""


class PendulumState(NamedTuple):
    """State of the pendulum."""

    angle: Float[Array, " B"]
    """Angle from upright, not wrapped [rad]."""
    speed: Float[Array, " B"]
    """Angular velocity [rad/s]."""


class Pendulum:
    """Gymnasium's Pendulum-v1: swing up a rod with a torque too weak to lift it directly.

    **Action** (1): torque, 2 N m times the action.

    **Observation** (3): cosine and sine of the angle, angular velocity [rad/s].

    **Reward**: ``-(angle^2 + 0.1 speed^2 + 0.001 torque^2)``, evaluated before the step, with the
    angle wrapped to [-pi, pi). The episode never terminates; it is truncated after 200 steps of
    0.05 s.

    **Step**: semi-implicit Euler for a uniform rod under gravity of 10 m/s^2. The angular speed is
    clipped to 8 rad/s.

    **Reset**: angle uniform in [-pi, pi], speed in [-1, 1].
    """

    spec = EnvSpec(
        "pendulum",
        observation=3,
        action_size=1,
        episode_length=200,
        dt=0.05,
        entries=(
            Entry("cosine_of_angle", 1),
            Entry("sine_of_angle", 1),
            Entry("angular_velocity", 1),
        ),
    )

    def reset(self, key: PRNGKey, batch: int) -> PendulumState:
        """Draw `batch` start states; the class gives the ranges."""
        unit = jax.random.uniform(key, (2, batch), minval=-1.0, maxval=1.0)
        return PendulumState(jnp.pi * unit[0], START_SPEED * unit[1])

    def observe(self, state: PendulumState) -> Float[Array, "B 3"]:
        """Observation of a state; the class lists its entries."""
        return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.speed], axis=-1)

    def step(self, state: PendulumState, action: Float[Array, "B 1"]) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1]."""
        torque = MAX_TORQUE * jnp.clip(action[:, 0], -1.0, 1.0)
        wrapped = (state.angle + jnp.pi) % (2 * jnp.pi) - jnp.pi
        reward = -(wrapped**2 + 0.1 * state.speed**2 + 0.001 * torque**2)
        fall = 1.5 * GRAVITY / LENGTH * jnp.sin(state.angle)
        speed = state.speed + self.spec.dt * (fall + 3.0 / (MASS * LENGTH**2) * torque)
        speed = jnp.clip(speed, -MAX_SPEED, MAX_SPEED)
        after = PendulumState(state.angle + self.spec.dt * speed, speed)
        return Step(after, self.observe(after), reward, jnp.zeros(len(reward), bool))
