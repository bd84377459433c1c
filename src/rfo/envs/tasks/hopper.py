"""Hopper: a one-legged robot hops forward in a plane."""

from __future__ import annotations

import jax.numpy as jnp

from rfo.envs.base import Entry, EnvSpec, Step
from rfo.envs.rigid import RigidTask, asset, start_near
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.articulated_parameters import ArticulatedParameters
from rfo.physics.mjcf import ContactParameters
from rfo.types import Array, Bool, Float, PRNGKey

SUBSTEPS = 16
CONTACT = ContactParameters(ke=2e4, kd=0.0, kf=1e3, mu=0.9, kh=1e3)
LIMIT_KE, LIMIT_KD = 1e3, 1e1

TERMINATION_HEIGHT = -0.45
"""Height of the torso, relative to the upright stance, below which the episode ends [m]."""
HEIGHT_MARGIN = 0.15
"""Distance above the termination height within which a low torso is penalised [m]."""
HEIGHT_CAP = 0.3
"""Distance above that margin beyond which more height earns nothing [m]."""
HEIGHT_COST = 200.0
"""Weight of the penalty for a low torso [1/m^2]."""
ANGLE_SCALE = jnp.pi / 6
"""Pitch of the torso at which the reward for being upright is 0 [rad]."""
ACTION_COST = 0.1

POSITION_NOISE = 0.05
"""Largest deviation of the start's coordinates [m, rad]."""
VELOCITY_NOISE = 0.05
"""Largest velocity at the start [m/s, rad/s]."""


class Hopper(RigidTask):
    """DFlex's hopper with the reward of the SHAC paper (Xu et al. 2022, appendix).

    Coordinates q: position x and height z of the torso relative to the upright stance [m], its
    pitch, and the angles of thigh, leg and foot [rad]. All are zero when the hopper is upright.

    **Action** (3): torques of thigh, leg and foot, 200 N m times the action.

    **Observation** (11): q without x [m, rad], then the six velocities [m/s, rad/s]. (Rewarped's
    unfinished port declares 11 entries and builds 12, including x. A gait does not depend on x.)

    **Reward**: v_x + height + 1 - (pitch / 30 degrees)^2 - 0.1 |a|^2, evaluated after the step.
    With d = clip(z + 0.3 m, -1, 0.3), height is d, or -200 d^2 where d is negative. The episode
    terminates when z falls below -0.45 m; it is truncated after 1000 steps of 1/60 s. A step has 16
    substeps.

    **Reset**: upright, every coordinate and velocity +-0.05, uniform.

    **Contact** with the ground: stiffness 2e4 N/m, damping 1e3 N s/m^2 times the depth, friction
    slope 1e3 N s/m, friction coefficient 0.9. Joint limits: 1e3 N m/rad and 10 N m s/rad. Contact,
    substeps and action scale are DFlex's. Its damping grows with the depth, so that the contact
    force does not jump at first touch. The body, with the armature and damping of its joints, is
    OpenAI Gym's.

    Args:
        threads: CPU threads of the physics; by default as many as speed up the batch.
    """

    spec = EnvSpec(
        "hopper",
        observation=11,
        action_size=3,
        episode_length=1000,
        dt=1 / 60,
        entries=(Entry("coordinates_without_x", 5), Entry("velocities", 6)),
    )
    pose = (0.0,) * 6
    """The upright stance, as `rfo.envs.base.Actuated` describes."""

    def __init__(self, threads: int | None = None):
        model = asset("hopper", CONTACT, LIMIT_KE, LIMIT_KD)
        self.simulator = Articulated(model, self.spec.dt, SUBSTEPS, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> ArticulatedState:
        """Draw `batch` start states near the upright stance; the class gives the ranges."""
        return start_near(key, batch, self.pose, POSITION_NOISE, VELOCITY_NOISE)

    def observe(self, state: ArticulatedState) -> Float[Array, "B 11"]:
        """Observation of a state; the class lists its entries."""
        return jnp.concatenate([state.q[:, 1:], state.qd], axis=-1)

    def step(
        self,
        state: ArticulatedState,
        action: Float[Array, "B 3"],
        parameters: ArticulatedParameters | None = None,
    ) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1]."""
        action = jnp.clip(action, -1.0, 1.0)
        after = self.simulator.step(state, action, parameters)
        return Step(after, self.observe(after), self.reward(after, action), self.terminated(after))

    def reward(self, state: ArticulatedState, action: Float[Array, "B 3"]) -> Float[Array, " B"]:
        """Reward for arriving in a state by an action in [-1, 1]; the class gives the formula."""
        z, pitch = state.q[:, 1], state.q[:, 2]
        lift = jnp.clip(z - TERMINATION_HEIGHT - HEIGHT_MARGIN, -1.0, HEIGHT_CAP)
        height = jnp.where(lift < 0, -HEIGHT_COST * lift**2, lift)
        upright = 1 - (pitch / ANGLE_SCALE) ** 2
        return state.qd[:, 0] + height + upright - ACTION_COST * jnp.sum(action**2, axis=-1)

    def terminated(self, state: ArticulatedState) -> Bool[Array, " B"]:
        """Whether the torso is too low."""
        return state.q[:, 1] < TERMINATION_HEIGHT
