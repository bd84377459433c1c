"""HandReorient: a hand with four fingers turns the cube that lies in it to a given orientation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo.envs.base import Entry, EnvSpec, Step
from rfo.envs.rigid import RigidTask, asset
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.articulated_parameters import ArticulatedParameters
from rfo.physics.kinematics import axis_angle, multiply
from rfo.physics.mjcf import ContactParameters
from rfo.types import Array, Bool, Float, PRNGKey, UInt

SUBSTEPS = 64
JOINTS = 16


class Penalties(NamedTuple):
    """Constants of the penalty forces of contacts and joint limits."""

    contact: ContactParameters
    """Constants of every contact."""
    limit_ke: float
    """Stiffness of the joint limits [N m/rad]."""
    limit_kd: float
    """Damping of the joint limits [N m s/rad]."""


RECORDED = Penalties(ContactParameters(ke=5e2, kd=1e2, kf=1e2, mu=0.5), 1e2, 1e1)
"""Rewarped's constants."""
SMOOTH = Penalties(ContactParameters(ke=5e2, kd=0.0, kf=1e2, mu=0.5, kh=1e4), 1e2, 0.5)
"""Constants without a jump of the force at first touch. Contact damping grows with the depth and
equals Rewarped's at one centimetre. Joint limits are damped almost critically; Rewarped's damping
is sixteen times the critical one."""

CUBE_POSITION = (0.0, -0.1, 0.6)
"""Mean position of the cube at the start [m]."""
GOAL_POSITION = (0.0, -0.1, 0.56)
"""Position that the cube should keep [m]."""
POSITION_NOISE = 0.01
"""Largest deviation of the cube's start in each coordinate [m]."""
JOINT_NOISE = 0.2
"""Part of each joint's range, measured from 0, in which the joint starts."""

DISTANCE_COST = 10.0
"""Weight of the distance from the goal [1/m]."""
ANGLE_EPS = 0.1
"""Angle added to the angle from the goal, which bounds its reward [rad]."""
ACTION_COST = 2e-4
BONUS = 250.0
TOLERANCE = 0.1
"""Angle from the goal that counts as success [rad]."""
SOFTNESS = 1e-3
"""Width of the sigmoids that replace comparisons."""
FALL_DISTANCE = 0.24
"""Distance of the cube from the goal's position at which the episode ends [m]."""
VELOCITY_SCALE = 0.2
"""Factor on the angular velocities of joints and cube in the observation."""


class HandState(NamedTuple):
    """State between two control steps."""

    physics: ArticulatedState
    goal: Float[Array, "B 4"]
    """Orientation to reach, quaternion (w, x, y, z)."""
    action: Float[Array, "B 16"]
    """The last action; zero after a reset."""
    key: UInt[Array, "B 2"]
    """Key that later goals are drawn from."""


class HandReorient(RigidTask):
    """AllegroHand of Rewarped 1.3.3 (`rewarped/envs/isaacgymenvs/allegro_hand.py`).

    The palm is fixed. The cube is free, and only the hand holds it.

    **Action** (16): torque of each joint, 2 N m times the action, for thumb, ring, middle and index
    finger, each from the palm outwards.

    **Observation** (72):

    ====== ==============================================================================
    0-15   joint angles, -1 and 1 at their limits
    16-31  joint velocities [0.2 rad/s]
    32-34  position of the cube [m]
    35-38  orientation of the cube, quaternion (w, x, y, z)
    39-41  velocity of the cube [m/s]
    42-44  angular velocity of the cube in the world [0.2 rad/s]
    45-47  position of the goal, (0, -0.1, 0.56) [m]
    48-51  orientation of the goal
    52-55  rotation from the goal to the cube
    56-71  the last action
    ====== ==============================================================================

    **Reward**: -10 d + 1 / (theta + 0.1) - 0.0002 |a|^2 + bonus, evaluated after the step. d is the
    distance of the cube from the goal's position and theta = 2 asin(min(|q_xyz|, 0.999)) its angle
    from the goal's orientation. Rewarped replaces comparisons by sigmoids, s(x) = 1 / (1 + exp(-x /
    0.001)). It promises a bonus of 250 if success = s(0.1 - theta) equals 1, and tests this by
    s(-|1 - success|), which is at most one half. So the largest bonus of `hand_reorient` is 125.
    `hand_reorient_corrected` pays 250 times success.

    When theta is at most 0.1, a new goal is drawn for the next step. The episode terminates when d
    is 0.24 m or more; it is truncated after 600 steps of 1/120 s. A step has 64 substeps.

    **Reset**: the cube at (0, -0.1, 0.6) +- 0.01 m in each coordinate. Its orientation and the
    goal's are rotations by a random angle about y, then by a random angle about x. Each joint
    starts between 0.2 times its lower and 0.2 times its upper limit. All are uniform, and
    everything is at rest.

    **Contact** of all links and the cube with one another: stiffness 500 N/m, damping 100 N s/m,
    friction slope 100 N s/m, friction coefficient 0.5. Joint limits: 100 N m/rad and 10 N m s/rad.

    `hand_reorient_smooth` has the same reward, but forces whose gradient a policy can learn from.
    Its contact damping is 1e4 N s/m^2 times the depth, so that the force does not jump at first
    touch. The damping of its joint limits is 0.5 N m s/rad.

    Observations and rewards are Rewarped's, with its quaternions in our order. The motion differs:
    Rewarped computes the mass matrix of this model with the links' inertias at the wrong joints,
    and it has another contact law for boxes (docs/environments.md).

    Args:
        name: name of the task.
        bonus: `recorded_bonus` or `promised_bonus`.
        penalties: `RECORDED` or `SMOOTH`.
        threads: CPU threads of the physics; by default as many as speed up the batch.
    """

    pose = (*(0.0,) * JOINTS, *CUBE_POSITION, 1.0, 0.0, 0.0, 0.0)
    """Open hand and level cube, as `rfo.envs.base.Actuated` describes."""

    def __init__(
        self,
        name: str,
        bonus: Callable[[Array], Array],
        penalties: Penalties = RECORDED,
        threads: int | None = None,
    ):
        self.spec = EnvSpec(
            name,
            observation=72,
            action_size=JOINTS,
            episode_length=600,
            dt=1 / 120,
            entries=(
                Entry("joint_angles_in_limits", JOINTS),
                Entry("joint_velocities", JOINTS, VELOCITY_SCALE),
                Entry("cube_position", 3),
                Entry("cube_orientation", 4),
                Entry("cube_velocity", 3),
                Entry("cube_angular_velocity", 3, VELOCITY_SCALE),
                Entry("goal_position", 3),
                Entry("goal_orientation", 4),
                Entry("rotation_from_goal", 4),
                Entry("last_action", JOINTS),
            ),
        )
        self.bonus = bonus
        model = asset("hand", *penalties)
        self.simulator = Articulated(model, self.spec.dt, SUBSTEPS, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> HandState:
        """Draw `batch` start states with the cube above the palm; the class gives the ranges."""
        shift_key, joint_key, turn_key, goal_key, later = jax.random.split(key, 5)
        low, high = self._limits()
        shift = jax.random.uniform(shift_key, (batch, 3), minval=-1.0, maxval=1.0)
        joints = JOINT_NOISE * jax.random.uniform(
            joint_key, (batch, JOINTS), minval=low, maxval=high
        )
        place = jnp.array(CUBE_POSITION) + POSITION_NOISE * shift
        turn = _orientation(jax.random.uniform(turn_key, (batch, 2), minval=-jnp.pi, maxval=jnp.pi))
        goal = _orientation(jax.random.uniform(goal_key, (batch, 2), minval=-jnp.pi, maxval=jnp.pi))
        q = jnp.concatenate([joints, place, turn], axis=-1)
        physics = ArticulatedState(q, jnp.zeros((batch, JOINTS + 6)))
        keys = jax.random.key_data(jax.random.split(later, batch))
        return HandState(physics, goal, jnp.zeros((batch, JOINTS)), keys)

    def observe(self, state: HandState) -> Float[Array, "B 72"]:
        """Observation of a state; the class lists its entries."""
        q, qd = state.physics
        low, high = self._limits()
        angles = 2 * (q[:, :JOINTS] - low) / (high - low) - 1
        goal_position = jnp.broadcast_to(jnp.array(GOAL_POSITION), (len(q), 3))
        return jnp.concatenate(
            [
                angles,
                VELOCITY_SCALE * qd[:, :JOINTS],
                q[:, JOINTS:],
                qd[:, JOINTS : JOINTS + 3],
                VELOCITY_SCALE * qd[:, JOINTS + 3 :],
                goal_position,
                state.goal,
                _from_goal(state),
                state.action,
            ],
            axis=-1,
        )

    def step(
        self,
        state: HandState,
        action: Float[Array, "B 16"],
        parameters: ArticulatedParameters | None = None,
    ) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1]."""
        action = jnp.clip(action, -1.0, 1.0)
        after = state._replace(
            physics=self.simulator.step(state.physics, action, parameters), action=action
        )
        earned = reward(after, self.bonus)
        after = _next_goal(after, angle(after) <= TOLERANCE)
        return Step(after, self.observe(after), earned, terminated(after))

    def _limits(self) -> tuple[Float[Array, " 16"], Float[Array, " 16"]]:
        model = self.simulator.model
        low, high = model.limit_lower[:JOINTS], model.limit_upper[:JOINTS]
        return jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)


def reward(state: HandState, bonus: Callable[[Array], Array]) -> Float[Array, " B"]:
    """Reward for arriving in a state, before a new goal is drawn; see `HandReorient`."""
    theta = angle(state)
    cost = DISTANCE_COST * distance(state) + ACTION_COST * jnp.sum(state.action**2, axis=-1)
    return 1 / (theta + ANGLE_EPS) - cost + bonus(theta)


def recorded_bonus(theta: Float[Array, " B"]) -> Float[Array, " B"]:
    """Bonus as Rewarped computes it: at most half of the promised one."""
    success = jax.nn.sigmoid((TOLERANCE - theta) / SOFTNESS)
    return BONUS * jax.nn.sigmoid(-jnp.abs(1 - success) / SOFTNESS)


def promised_bonus(theta: Float[Array, " B"]) -> Float[Array, " B"]:
    """Bonus that is paid in full on success."""
    return BONUS * jax.nn.sigmoid((TOLERANCE - theta) / SOFTNESS)


def terminated(state: HandState) -> Bool[Array, " B"]:
    """Whether the cube has left the hand."""
    return distance(state) >= FALL_DISTANCE


def distance(state: HandState) -> Float[Array, " B"]:
    """Distance of the cube from the goal's position [m]."""
    return jnp.linalg.norm(
        state.physics.q[:, JOINTS : JOINTS + 3] - jnp.array(GOAL_POSITION), axis=-1
    )


def angle(state: HandState) -> Float[Array, " B"]:
    """Angle of the cube from the goal's orientation [rad]."""
    return 2 * jnp.arcsin(jnp.minimum(jnp.linalg.norm(_from_goal(state)[:, 1:], axis=-1), 0.999))


def _from_goal(state: HandState) -> Float[Array, "B 4"]:
    conjugate = state.goal * jnp.array([1.0, -1.0, -1.0, -1.0])
    return multiply(state.physics.q[:, JOINTS + 3 :], conjugate)


def _next_goal(state: HandState, reached: Bool[Array, " B"]) -> HandState:
    """Draw a new goal where the old one is reached."""

    def draw(key: Array) -> tuple[Array, Array]:
        later, now = jax.random.split(jax.random.wrap_key_data(key))
        angles = jax.random.uniform(now, (2,), minval=-jnp.pi, maxval=jnp.pi)
        return jax.random.key_data(later), _orientation(angles)

    keys, goals = jax.vmap(draw)(state.key)
    return state._replace(
        goal=jnp.where(reached[:, None], goals, state.goal),
        key=jnp.where(reached[:, None], keys, state.key),
    )


def _orientation(angles: Float[Array, "*n 2"]) -> Float[Array, "*n 4"]:
    """Rotation about y by the second angle, then about x by the first."""
    x, y, _ = jnp.eye(3)
    return multiply(axis_angle(x, angles[..., 0]), axis_angle(y, angles[..., 1]))


def hand_reorient(threads: int | None = None) -> HandReorient:
    """The task with Rewarped's bonus."""
    return HandReorient("hand_reorient", recorded_bonus, threads=threads)


def hand_reorient_corrected(threads: int | None = None) -> HandReorient:
    """The task that pays the promised bonus in full."""
    return HandReorient("hand_reorient_corrected", promised_bonus, threads=threads)


def hand_reorient_smooth(threads: int | None = None) -> HandReorient:
    """The task with contact damping that grows with the depth."""
    return HandReorient("hand_reorient_smooth", recorded_bonus, SMOOTH, threads)
