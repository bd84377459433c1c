"""Hopper: a one-legged robot hops forward in a plane."""

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
from rfo.types import Array, Bool, Float, PRNGKey

SUBSTEPS = 16
CONTACT = ContactParameters(ke=2e4, kd=0.0, kf=1e3, mu=0.9, kh=1e3)
LIMIT_KE, LIMIT_KD = 1e3, 1e1

TERMINATION_HEIGHT = -0.45
"""Of the torso, relative to the upright stance [m]."""
HEIGHT_MARGIN = 0.15
"""Above the termination height below which the height is punished [m]."""
HEIGHT_CAP = 0.3
"""Above the margin's end beyond which more height earns nothing [m]."""
HEIGHT_COST = 200.0
"""[1/m^2]"""
ANGLE_SCALE = jnp.pi / 6
"""Pitch of the torso at which its reward is 0 [rad]."""
ACTION_COST = 0.1

POSITION_NOISE = 0.05
"""[m, rad]"""
VELOCITY_NOISE = 0.05
"""[m/s, rad/s]"""


class Hopper:
    """Hopper in the manner of DFlex, with the reward of the SHAC paper (Xu et al. 2022, appendix).

    Coordinates q: position x and height z of the torso relative to the upright stance [m], its pitch, and
    the angles of thigh, leg and foot [rad], all zero when upright.

    **Action** (3): the torque of thigh, leg and foot is 200 times the action [N m].

    **Observation** (11): q without x [m, rad], then its six velocities [m/s, rad/s]. (Rewarped's unfinished
    port declares 11 and builds 12, with x; a gait does not depend on x.)

    **Reward**: v_x + height + 1 - (pitch / 30 degrees)^2 - 0.1 |a|^2, of the state after the step, where
    height is d = clip(z + 0.3 m, -1, 0.3), or -200 d^2 where d is negative. The episode terminates when
    z falls below -0.45 m; it is truncated after 1000 steps of 1/60 s, each of 16 substeps.

    **Reset**: upright, every coordinate and velocity +-0.05, uniform.

    **Contact** with the ground: stiffness 2e4 N/m, damping 1e3 N s/m^2 times the depth, friction
    slope 1e3 N s/m, friction coefficient 0.9; joint limits 1e3 N m/rad and 10 N m s/rad. Contact, substeps
    and action scale are DFlex's, whose damping sets in with depth and not at once; the body, with its
    joints' armature and damping, is that of OpenAI Gym.

    Args:
        threads: CPU threads of the physics, by default as many as speed up the batch.
    """

    spec = EnvSpec("hopper", observation=11, action_size=3, episode_length=1000, dt=1 / 60)

    def __init__(self, threads: int | None = None):
        self.simulator = Articulated(_model(), self.spec.dt, SUBSTEPS, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> ArticulatedState:
        """Upright, see the class."""
        position, velocity = jnp.split(
            jax.random.uniform(key, (batch, 12), minval=-1.0, maxval=1.0), 2, axis=-1
        )
        return ArticulatedState(POSITION_NOISE * position, VELOCITY_NOISE * velocity)

    def observe(self, state: ArticulatedState) -> Float[Array, "B 11"]:
        """See the class."""
        return jnp.concatenate([state.q[:, 1:], state.qd], axis=-1)

    def step(self, state: ArticulatedState, action: Float[Array, "B 3"]) -> Step:
        """See the class."""
        action = jnp.clip(action, -1.0, 1.0)
        after = self.simulator.step(state, action)
        return Step(after, self.observe(after), reward(after, action), terminated(after))

    def scene(self) -> dict[str, Any]:
        """See `rfo.envs.base.Renderable`."""
        return {"geoms": list(self.simulator.model.geoms)}

    def frame(self, state: ArticulatedState) -> dict[str, Array]:
        """See `rfo.envs.base.Renderable`."""
        return {"poses": link_poses(self.simulator.model, state.q)}


def reward(state: ArticulatedState, action: Float[Array, "B 3"]) -> Float[Array, " B"]:
    """Of arriving in a state by an action in [-1, 1], see `Hopper`."""
    z, pitch = state.q[:, 1], state.q[:, 2]
    lift = jnp.clip(z - TERMINATION_HEIGHT - HEIGHT_MARGIN, -1.0, HEIGHT_CAP)
    height = jnp.where(lift < 0, -HEIGHT_COST * lift**2, lift)
    upright = 1 - (pitch / ANGLE_SCALE) ** 2
    return state.qd[:, 0] + height + upright - ACTION_COST * jnp.sum(action**2, axis=-1)


def terminated(state: ArticulatedState) -> Bool[Array, " B"]:
    """Whether the torso has sunk."""
    return state.q[:, 1] < TERMINATION_HEIGHT


@cache
def _model() -> Model:
    text = files("rfo.envs").joinpath("assets/hopper.xml").read_text()
    return load(text, CONTACT, limit_ke=LIMIT_KE, limit_kd=LIMIT_KD)
