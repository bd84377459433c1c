"""CartPole: a cart swings up its pole and balances it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import jax
import jax.numpy as jnp

from rfo.envs.base import EnvSpec, Step
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.kinematics import link_poses
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Model
from rfo.types import Array, Float, PRNGKey

SUBSTEPS = 4
CONTACT = ContactParameters(ke=0.0, kd=0.0, kf=0.0, mu=0.0)
"""Nothing touches the ground."""
LIMIT_KE, LIMIT_KD = 1e2, 1.0
"""Of the rail's ends [N/m, N s/m]."""

START = (0.0, -jnp.pi)
"""Cart in the middle [m], pole hanging [rad]."""
POSITION_NOISE = jnp.pi / 2
"""[m, rad]"""
VELOCITY_NOISE = 0.25
"""[m/s, rad/s]"""

ANGLE_COST, ANGULAR_VELOCITY_COST = 1.0, 0.1
POSITION_COST, VELOCITY_COST = 0.05, 0.1


class CartPole:
    """Cartpole of Rewarped 1.3.3 (`rewarped/envs/dflex/cartpole.py`), z up.

    **Action** (1): the force on the cart is 1000 times the action [N].

    **Observation** (5): position x [m] and velocity [m/s] of the cart, sine and cosine of the pole's angle
    theta, its angular velocity [rad/s]. The pole stands upright at theta = 0.

    **Reward**: -theta^2 - 0.1 theta'^2 - 0.05 x^2 - 0.1 x'^2, of the state after the step, theta in
    [-pi, pi]. No state terminates the episode; it is truncated after 240 steps of 1/60 s, each of
    4 substeps.

    **Reset**: cart at 0 +- pi/2 m, pole at -pi +- pi/2 rad, velocities +-0.25, all uniform.

    The rail ends at x = +-4 m, with stiffness 100 N/m and damping 1 N s/m.

    Args:
        threads: CPU threads of the physics, by default as many as speed up the batch.
    """

    spec = EnvSpec("cartpole", observation=5, action_size=1, episode_length=240, dt=1 / 60)

    def __init__(self, threads: int | None = None):
        self.simulator = Articulated(_model(), self.spec.dt, SUBSTEPS, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> ArticulatedState:
        """Pole hanging, see the class."""
        position, velocity = jnp.split(
            jax.random.uniform(key, (batch, 4), minval=-1.0, maxval=1.0), 2, axis=-1
        )
        return ArticulatedState(
            jnp.array(START) + POSITION_NOISE * position, VELOCITY_NOISE * velocity
        )

    def observe(self, state: ArticulatedState) -> Float[Array, "B 5"]:
        """See the class."""
        (x, theta), (velocity, omega) = state.q.T, state.qd.T
        return jnp.stack([x, velocity, jnp.sin(theta), jnp.cos(theta), omega], axis=-1)

    def step(self, state: ArticulatedState, action: Float[Array, "B 1"]) -> Step:
        """See the class."""
        after = self.simulator.step(state, jnp.clip(action, -1.0, 1.0))
        return Step(after, self.observe(after), reward(after), jnp.zeros(len(action), bool))

    def scene(self) -> dict[str, Any]:
        """See `rfo.envs.base.Renderable`."""
        return {"geoms": list(self.simulator.model.geoms)}

    def frame(self, state: ArticulatedState) -> dict[str, Array]:
        """See `rfo.envs.base.Renderable`."""
        return {"poses": link_poses(self.simulator.model, state.q)}


def reward(state: ArticulatedState) -> Float[Array, " B"]:
    """Of arriving in a state, see `CartPole`."""
    (x, theta), (velocity, omega) = state.q.T, state.qd.T
    angle = jnp.arctan2(jnp.sin(theta), jnp.cos(theta))
    pole = ANGLE_COST * angle**2 + ANGULAR_VELOCITY_COST * omega**2
    return -pole - POSITION_COST * x**2 - VELOCITY_COST * velocity**2


@cache
def _model() -> Model:
    text = files("rfo.envs").joinpath("assets/cartpole.xml").read_text()
    return load(text, CONTACT, limit_ke=LIMIT_KE, limit_kd=LIMIT_KD)
