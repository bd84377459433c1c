"""CartPole: a cart swings up its pole and balances it."""

from __future__ import annotations

import math

import jax.numpy as jnp

from rfo.envs.base import Entry, EnvSpec, Step
from rfo.envs.rigid import RigidTask, asset, start_near
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.articulated_parameters import ArticulatedParameters
from rfo.physics.mjcf import ContactParameters
from rfo.types import Array, Float, PRNGKey

SUBSTEPS = 4
CONTACT = ContactParameters(ke=0.0, kd=0.0, kf=0.0, mu=0.0)
"""No contact: nothing touches the ground."""
LIMIT_KE, LIMIT_KD = 1e2, 1.0
"""Stiffness and damping at the rail's ends [N/m, N s/m]."""

START = (0.0, -math.pi)
"""Mean start: cart in the middle of the rail [m], pole hanging down [rad]."""
POSITION_NOISE = jnp.pi / 2
"""Largest deviation of the start's coordinates [m, rad]."""
VELOCITY_NOISE = 0.25
"""Largest velocity at the start [m/s, rad/s]."""

ANGLE_COST, ANGULAR_VELOCITY_COST = 1.0, 0.1
POSITION_COST, VELOCITY_COST = 0.05, 0.1


class CartPole(RigidTask):
    """Cartpole of Rewarped 1.3.3 (`rewarped/envs/dflex/cartpole.py`), with z up.

    **Action** (1): force on the cart, 1000 N times the action.

    **Observation** (5): position x [m] and velocity [m/s] of the cart, sine and cosine of the
    pole's angle theta, angular velocity of the pole [rad/s]. The pole is upright at theta = 0.

    **Reward**: -theta^2 - 0.1 theta'^2 - 0.05 x^2 - 0.1 x'^2, evaluated after the step, with theta
    in [-pi, pi]. The episode never terminates; it is truncated after 240 steps of 1/60 s. A step
    has 4 substeps.

    **Reset**: cart at 0 +- pi/2 m, pole at -pi +- pi/2 rad, velocities +-0.25, all uniform.

    The rail ends at x = +-4 m, with stiffness 100 N/m and damping 1 N s/m.

    Args:
        threads: CPU threads of the physics; by default as many as speed up the batch.
    """

    spec = EnvSpec(
        "cartpole",
        observation=5,
        action_size=1,
        episode_length=240,
        dt=1 / 60,
        entries=(
            Entry("position", 1),
            Entry("velocity", 1),
            Entry("sine_of_angle", 1),
            Entry("cosine_of_angle", 1),
            Entry("angular_velocity", 1),
        ),
    )
    pose = START
    """The hanging pole, as `rfo.envs.base.Actuated` describes."""

    def __init__(self, threads: int | None = None):
        model = asset("cartpole", CONTACT, LIMIT_KE, LIMIT_KD)
        self.simulator = Articulated(model, self.spec.dt, SUBSTEPS, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> ArticulatedState:
        """Draw `batch` start states with the pole hanging; the class gives the ranges."""
        return start_near(key, batch, START, POSITION_NOISE, VELOCITY_NOISE)

    def observe(self, state: ArticulatedState) -> Float[Array, "B 5"]:
        """Observation of a state; the class lists its entries."""
        (x, theta), (velocity, omega) = state.q.T, state.qd.T
        return jnp.stack([x, velocity, jnp.sin(theta), jnp.cos(theta), omega], axis=-1)

    def step(
        self,
        state: ArticulatedState,
        action: Float[Array, "B 1"],
        parameters: ArticulatedParameters | None = None,
    ) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1]."""
        after = self.simulator.step(state, jnp.clip(action, -1.0, 1.0), parameters)
        return Step(after, self.observe(after), self.reward(after), jnp.zeros(len(action), bool))

    def reward(self, state: ArticulatedState) -> Float[Array, " B"]:
        """Reward for arriving in a state; the class gives the formula."""
        (x, theta), (velocity, omega) = state.q.T, state.qd.T
        angle = jnp.arctan2(jnp.sin(theta), jnp.cos(theta))
        pole = ANGLE_COST * angle**2 + ANGULAR_VELOCITY_COST * omega**2
        return -pole - POSITION_COST * x**2 - VELOCITY_COST * velocity**2
