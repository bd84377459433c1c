"""Go2: a Unitree Go2 quadruped follows velocity commands."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo.envs.base import Entry, EnvSpec, Step
from rfo.envs.rigid import RigidTask, asset
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.articulated_parameters import ArticulatedParameters
from rfo.physics.kinematics import rotate
from rfo.physics.mjcf import ContactParameters
from rfo.types import Array, Bool, Float, PRNGKey

SUBSTEPS = 16
CONTACT = ContactParameters(ke=1e4, kd=1e2, kf=2e2, mu=0.8)
LIMIT_KE, LIMIT_KD = 1e2, 1.0

START_HEIGHT = 0.28
"""Height of the trunk's centre at the start [m]."""
START_JOINTS = (0.0, 0.9, -1.8) * 4
"""Standing pose: angles of hip, thigh and calf of each leg [rad]."""
JOINT_NOISE = 0.1
"""Largest deviation of the joints from the standing pose at the start [rad]."""
VELOCITY_NOISE = 0.1
"""Largest velocity at the start [m/s, rad/s]."""
SLOWEST = (0.0, -0.4, -0.8)
"""Smallest command: forward and to the left [m/s], turning to the left [rad/s]."""
FASTEST = (1.5, 0.4, 0.8)
"""Largest command, in the same order."""

SPEED_WIDTH = 0.25
"""Squared error at which half of the reward for a velocity is left [m^2/s^2, rad^2/s^2]."""
TURN_WEIGHT = 0.5
BOUNCE_COST = 1.0
"""[s^2/m^2]"""
ROLL_COST = 0.05
"""[s^2/rad^2]"""
TILT_COST = 1.0
ACTION_COST = 0.01
JERK_COST = 0.02
JOINT_VELOCITY_SCALE = 0.05
"""Factor on the joint velocities in the observation."""
TERMINATION_HEIGHT = 0.15
"""Height of the trunk's centre below which the episode ends [m]."""
TERMINATION_TILT = 0.5
"""Vertical component of the trunk's z axis below which the episode ends."""


class Go2State(NamedTuple):
    """State between two control steps: physics, command and last action."""

    physics: ArticulatedState
    command: Float[Array, "B 3"]
    """Velocity forward and to the left [m/s], turning rate to the left [rad/s], in the trunk's
    frame."""
    action: Float[Array, "B 12"]
    """The last action; zero after a reset."""


class Go2(RigidTask):
    """A Unitree Go2 follows a velocity command, which is drawn anew for every episode.

    **Action** (12): targets of the joint servos. The target is the standing pose plus 0.5 rad times
    the action, for hip, thigh and calf of the legs FL, FR, RL, RR. A servo has a stiffness of
    40 N m/rad and a damping of 1 N m s/rad.

    **Observation** (48), vectors in the trunk's frame:

    ====== ==============================================================================
    0-2    velocity [m/s]
    3-5    angular velocity [rad/s]
    6-8    direction of gravity, (0, 0, -1) when upright
    9-11   command: forward, to the left [m/s], turning to the left [rad/s]
    12-23  joint angles relative to the standing pose [rad]
    24-35  joint velocities [20 rad/s]
    36-47  the last action
    ====== ==============================================================================

    **Reward**: h(e_v) + 0.5 h(e_w) - v_z^2 - 0.05 (w_x^2 + w_y^2) - (d_x^2 + d_y^2) - 0.01 |a|^2
    - 0.02 |a - a_last|^2, evaluated after the step. Here h(e) = 1 / (1 + e^2 / 0.25), e_v and e_w
    are the errors of velocity and turning rate, and d is the direction of gravity. The function h
    has heavy tails, so that it has a gradient even far from the command. The episode terminates
    when the trunk is below 0.15 m or leans by more than 60 degrees; it is truncated after 500 steps
    of 1/50 s. A step has 16 substeps.

    **Reset**: standing, at any heading; joints +-0.1 rad, velocities +-0.1; the command between
    (0, -0.4 m/s, -0.8 rad/s) and (1.5 m/s, 0.4 m/s, 0.8 rad/s), all uniform.

    **Contact** with the ground: stiffness 1e4 N/m, damping 100 N s/m, friction slope 200 N s/m,
    friction coefficient 0.8. Joint limits: 100 N m/rad and 1 N m s/rad.

    Args:
        threads: CPU threads of the physics; by default as many as speed up the batch.
    """

    spec = EnvSpec(
        "go2",
        observation=48,
        action_size=12,
        episode_length=500,
        dt=1 / 50,
        entries=(
            Entry("velocity", 3),
            Entry("angular_velocity", 3),
            Entry("gravity_direction", 3),
            Entry("command", 3),
            Entry("joint_angles_from_pose", 12),
            Entry("joint_velocities", 12, JOINT_VELOCITY_SCALE),
            Entry("last_action", 12),
        ),
    )
    pose = (0.0, 0.0, START_HEIGHT, 1.0, 0.0, 0.0, 0.0, *START_JOINTS)
    """The standing pose, as `rfo.envs.base.Actuated` describes."""

    def __init__(self, threads: int | None = None):
        model = asset("go2", CONTACT, LIMIT_KE, LIMIT_KD)
        self.simulator = Articulated(model, self.spec.dt, SUBSTEPS, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> Go2State:
        """Draw `batch` start states and commands; the class gives the ranges."""
        draw = jax.random.uniform(key, (batch, 34), minval=-1.0, maxval=1.0)
        turn, bend, velocity, wish = jnp.split(draw, (1, 13, 31), axis=-1)
        place = jnp.broadcast_to(jnp.array([0.0, 0.0, START_HEIGHT]), (batch, 3))
        half, level = jnp.pi / 2 * turn, jnp.zeros((batch, 2))
        joints = jnp.array(START_JOINTS) + JOINT_NOISE * bend
        q = jnp.concatenate([place, jnp.cos(half), level, jnp.sin(half), joints], axis=-1)
        slowest, fastest = jnp.array(SLOWEST), jnp.array(FASTEST)
        command = slowest + (wish + 1) / 2 * (fastest - slowest)
        return Go2State(
            ArticulatedState(q, VELOCITY_NOISE * velocity), command, jnp.zeros((batch, 12))
        )

    def observe(self, state: Go2State) -> Float[Array, "B 48"]:
        """Observation of a state; the class lists its entries."""
        q, qd = state.physics
        joints = q[:, 7:] - jnp.array(START_JOINTS)
        return jnp.concatenate(
            [
                *_seen_by_trunk(state),
                state.command,
                joints,
                JOINT_VELOCITY_SCALE * qd[:, 6:],
                state.action,
            ],
            axis=-1,
        )

    def step(
        self,
        state: Go2State,
        action: Float[Array, "B 12"],
        parameters: ArticulatedParameters | None = None,
    ) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1]."""
        action = jnp.clip(action, -1.0, 1.0)
        after = state._replace(
            physics=self.simulator.step(state.physics, action, parameters), action=action
        )
        return Step(after, self.observe(after), reward(after, state.action), terminated(after))


def reward(state: Go2State, last_action: Float[Array, "B 12"]) -> Float[Array, " B"]:
    """Reward for arriving in a state; `Go2` gives the formula."""
    velocity, spin, down = _seen_by_trunk(state)

    def squared(x: Array) -> Array:
        return jnp.sum(x**2, axis=-1)

    speed_error = squared(velocity[:, :2] - state.command[:, :2])
    turn_error = (spin[:, 2] - state.command[:, 2]) ** 2
    followed = 1 / (1 + speed_error / SPEED_WIDTH) + TURN_WEIGHT / (1 + turn_error / SPEED_WIDTH)
    restless = (
        BOUNCE_COST * velocity[:, 2] ** 2
        + ROLL_COST * squared(spin[:, :2])
        + TILT_COST * squared(down[:, :2])
    )
    effort = ACTION_COST * squared(state.action) + JERK_COST * squared(state.action - last_action)
    return followed - restless - effort


def terminated(state: Go2State) -> Bool[Array, " B"]:
    """Whether the trunk is too low or leans too far."""
    _, _, down = _seen_by_trunk(state)
    return (state.physics.q[:, 2] < TERMINATION_HEIGHT) | (-down[:, 2] < TERMINATION_TILT)


def _seen_by_trunk(state: Go2State) -> tuple[Array, Array, Array]:
    """Velocity [m/s], angular velocity [rad/s] and direction of gravity, in the trunk's frame."""
    q, qd = state.physics
    back = q[:, 3:7] * jnp.array([1.0, -1.0, -1.0, -1.0])
    down = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0]), (len(q), 3))
    return rotate(back, qd[:, :3]), rotate(back, qd[:, 3:6]), rotate(back, down)
