"""Cheetah: a planar half-cheetah with two legs and a back runs forward."""

from __future__ import annotations

import jax.numpy as jnp

from rfo.envs.base import Entry, EnvSpec, Step
from rfo.envs.rigid import RigidTask, asset, start_near
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.articulated_parameters import ArticulatedParameters
from rfo.physics.mjcf import ContactParameters
from rfo.types import Array, Float, PRNGKey

SUBSTEPS = 16
CONTACT = ContactParameters(ke=2e4, kd=0.0, kf=1e3, mu=0.9, kh=1e3)
"""The same constants as the hopper's."""
LIMIT_KE, LIMIT_KD = 1e3, 1e1
ACTION_COST = 0.1

POSITION_NOISE = 0.1
"""Largest deviation of the start's coordinates [m, rad]."""
VELOCITY_NOISE = 0.25
"""Largest velocity at the start [m/s, rad/s]."""


class Cheetah(RigidTask):
    """Half-cheetah with DFlex's reward and sizes of observation and action, on Gymnasium's body.

    Coordinates q: position x and height z of the torso relative to the start [m], its pitch, and
    the angles of thigh, shin and foot of the hind leg and the front leg [rad].

    **Action** (6): torques of the leg joints, 200 N m times the action. The springs and dampers of
    the body act in addition.

    **Observation** (17): q without x [m, rad], then the nine velocities [m/s, rad/s].

    **Reward**: v_x - 0.1 |a|^2, evaluated after the step. The episode never terminates; it is
    truncated after 1000 steps of 1/60 s. A step has 16 substeps.

    **Reset**: every coordinate +-0.1, every velocity +-0.25, uniform.

    **Contact** with the ground, the same as the hopper's: stiffness 2e4 N/m, damping 1e3 N s/m^2
    times the depth, friction slope 1e3 N s/m, friction coefficient 0.9. Joint limits: 1e3 N m/rad
    and 10 N m s/rad.

    DFlex defines only the sizes and the reward of this task, and there is no recording of it. We
    chose the contact constants, the gears and the noise of the start. Returns are therefore not
    comparable with published ones.

    Args:
        threads: CPU threads of the physics; by default as many as speed up the batch.
    """

    spec = EnvSpec(
        "cheetah",
        observation=17,
        action_size=6,
        episode_length=1000,
        dt=1 / 60,
        entries=(Entry("coordinates_without_x", 8), Entry("velocities", 9)),
    )
    pose = (0.0,) * 9
    """The standing pose, as `rfo.envs.base.Actuated` describes."""

    def __init__(self, threads: int | None = None):
        model = asset("cheetah", CONTACT, LIMIT_KE, LIMIT_KD)
        self.simulator = Articulated(model, self.spec.dt, SUBSTEPS, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> ArticulatedState:
        """Draw `batch` start states near the standing pose; the class gives the ranges."""
        return start_near(key, batch, self.pose, POSITION_NOISE, VELOCITY_NOISE)

    def observe(self, state: ArticulatedState) -> Float[Array, "B 17"]:
        """Observation of a state; the class lists its entries."""
        return jnp.concatenate([state.q[:, 1:], state.qd], axis=-1)

    def step(
        self,
        state: ArticulatedState,
        action: Float[Array, "B 6"],
        parameters: ArticulatedParameters | None = None,
    ) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1]."""
        action = jnp.clip(action, -1.0, 1.0)
        after = self.simulator.step(state, action, parameters)
        never = jnp.zeros(len(action), bool)
        return Step(after, self.observe(after), self.reward(after, action), never)

    def reward(self, state: ArticulatedState, action: Float[Array, "B 6"]) -> Float[Array, " B"]:
        """Reward for arriving in a state by an action in [-1, 1]; the class gives the formula."""
        return state.qd[:, 0] - ACTION_COST * jnp.sum(action**2, axis=-1)
