"""HandReorient: a hand with four fingers turns a cube that lies in it to a given orientation."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfo.envs.base import EnvSpec, Step
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.kinematics import axis_angle, link_poses, multiply
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Model
from rfo.types import Array, Bool, Float, PRNGKey, UInt

SUBSTEPS = 64
JOINTS = 16


class Penalties(NamedTuple):
    """Constants of the forces that keep bodies apart and joints in their range."""

    contact: ContactParameters
    limit_ke: float
    """[N m/rad]"""
    limit_kd: float
    """[N m s/rad]"""


RECORDED = Penalties(ContactParameters(ke=5e2, kd=1e2, kf=1e2, mu=0.5), 1e2, 1e1)
"""Rewarped's."""
SMOOTH = Penalties(ContactParameters(ke=5e2, kd=0.0, kf=1e2, mu=0.5, kh=1e4), 1e2, 0.5)
"""Contact is damped as much as there a centimetre deep, and not from touch on; a joint beyond its limit is
damped nearly critically, and not sixteen times more."""

CUBE_POSITION = (0.0, -0.1, 0.6)
"""Where the cube starts [m]."""
GOAL_POSITION = (0.0, -0.1, 0.56)
"""[m]"""
POSITION_NOISE = 0.01
"""Of the cube's start [m]."""
JOINT_NOISE = 0.2
"""Share of a joint's range, from 0, in which it starts."""

DISTANCE_COST = 10.0
"""[1/m]"""
ANGLE_EPS = 0.1
"""[rad]"""
ACTION_COST = 2e-4
BONUS = 250.0
TOLERANCE = 0.1
"""Angle from the goal that counts as success [rad]."""
SOFTNESS = 1e-3
"""Width of the sigmoids that stand for comparisons."""
FALL_DISTANCE = 0.24
"""Of the cube from the goal's position [m]."""
VELOCITY_SCALE = 0.2
"""Of the joints' and the cube's angular velocities in the observation."""


class HandState(NamedTuple):
    """Physics, the goal, and what the observation tells of the past."""

    physics: ArticulatedState
    goal: Float[Array, "B 4"]
    """Orientation to reach, quaternion (w, x, y, z)."""
    action: Float[Array, "B 16"]
    """The last action; zero after a reset."""
    key: UInt[Array, "B 2"]
    """Of the goals to come."""


class HandReorient:
    """AllegroHand of Rewarped 1.3.3 (`rewarped/envs/isaacgymenvs/allegro_hand.py`): the palm is fixed, the
    cube free, nothing but the hand holds it.

    **Action** (16): the torque of each joint is 2 times the action [N m]; thumb, ring, middle, index finger,
    from the palm outwards.

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

    **Reward**: -10 d + 1 / (theta + 0.1) - 0.0002 |a|^2 + bonus, of the state after the step, with the
    distance d of the cube from the goal's position and its angle theta = 2 asin(min(|q_xyz|, 0.999)) from the
    goal's orientation. Rewarped's comparisons are sigmoids s(x) = 1 / (1 + exp(-x / 0.001)). For its bonus of
    250 it asks whether success, s(0.1 - theta), equals 1, by s(-|1 - success|), which is at most a half:
    `hand_reorient` pays those 125. `hand_reorient_corrected` pays 250 times success.

    When theta is at most 0.1 a new goal is drawn for the next step. The episode terminates when d is 0.24 m
    or more; it is truncated after 600 steps of 1/120 s, each of 64 substeps.

    **Reset**: the cube at (0, -0.1, 0.6) +- 0.01 m in each coordinate; its orientation and the goal's are
    turns by any angle about y, then by any about x; a joint between 0.2 times its lower and 0.2 times its
    upper limit, all uniform. At rest.

    **Contact**: stiffness 500 N/m, damping 100 N s/m, friction slope 100 N s/m, friction coefficient 0.5,
    of all links and the cube with one another; joint limits 100 N m/rad and 10 N m s/rad.

    `hand_reorient_smooth` has the same reward and other forces, whose gradient can be learnt from: contact
    damping of 1e4 N s/m^2 times the depth, so that it does not set in with a jump, and damping of the joint
    limits of 0.5 N m s/rad.

    Observations and rewards are Rewarped's (its quaternions in our order). Its motion is another: it computes
    the mass matrix of this model with the links' inertias at the wrong joints, and its boxes touch by
    another rule (docs/environments.md).

    Args:
        name: of the task.
        bonus: `recorded_bonus` or `promised_bonus`.
        penalties: `RECORDED` or `SMOOTH`.
        threads: CPU threads of the physics, by default as many as speed up the batch.
    """

    def __init__(
        self,
        name: str,
        bonus: Callable[[Array], Array],
        penalties: Penalties = RECORDED,
        threads: int | None = None,
    ):
        self.spec = EnvSpec(
            name, observation=72, action_size=JOINTS, episode_length=600, dt=1 / 120
        )
        self.bonus = bonus
        self.simulator = Articulated(_model(penalties), self.spec.dt, SUBSTEPS, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> HandState:
        """The cube above the palm, see the class."""
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
        """See the class."""
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

    def step(self, state: HandState, action: Float[Array, "B 16"]) -> Step:
        """See the class."""
        action = jnp.clip(action, -1.0, 1.0)
        after = state._replace(physics=self.simulator.step(state.physics, action), action=action)
        earned = reward(after, self.bonus)
        after = _next_goal(after, angle(after) <= TOLERANCE)
        return Step(after, self.observe(after), earned, terminated(after))

    def scene(self) -> dict[str, Any]:
        """See `rfo.envs.base.Renderable`."""
        return {"geoms": list(self.simulator.model.geoms)}

    def frame(self, state: HandState) -> dict[str, Array]:
        """See `rfo.envs.base.Renderable`."""
        return {"poses": link_poses(self.simulator.model, state.physics.q)}

    def _limits(self) -> tuple[Float[Array, " 16"], Float[Array, " 16"]]:
        model = self.simulator.model
        low, high = model.limit_lower[:JOINTS], model.limit_upper[:JOINTS]
        return jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)


def reward(state: HandState, bonus: Callable[[Array], Array]) -> Float[Array, " B"]:
    """Of arriving in a state, before the next goal is drawn, see `HandReorient`."""
    theta = angle(state)
    cost = DISTANCE_COST * distance(state) + ACTION_COST * jnp.sum(state.action**2, axis=-1)
    return 1 / (theta + ANGLE_EPS) - cost + bonus(theta)


def recorded_bonus(theta: Float[Array, " B"]) -> Float[Array, " B"]:
    """What Rewarped pays: at most half of what it names."""
    success = jax.nn.sigmoid((TOLERANCE - theta) / SOFTNESS)
    return BONUS * jax.nn.sigmoid(-jnp.abs(1 - success) / SOFTNESS)


def promised_bonus(theta: Float[Array, " B"]) -> Float[Array, " B"]:
    """All of it on success."""
    return BONUS * jax.nn.sigmoid((TOLERANCE - theta) / SOFTNESS)


def terminated(state: HandState) -> Bool[Array, " B"]:
    """Whether the cube has left the hand."""
    return distance(state) >= FALL_DISTANCE


def distance(state: HandState) -> Float[Array, " B"]:
    """Of the cube from the goal's position [m]."""
    return jnp.linalg.norm(
        state.physics.q[:, JOINTS : JOINTS + 3] - jnp.array(GOAL_POSITION), axis=-1
    )


def angle(state: HandState) -> Float[Array, " B"]:
    """Of the cube from the goal's orientation [rad]."""
    return 2 * jnp.arcsin(jnp.minimum(jnp.linalg.norm(_from_goal(state)[:, 1:], axis=-1), 0.999))


def _from_goal(state: HandState) -> Float[Array, "B 4"]:
    conjugate = state.goal * jnp.array([1.0, -1.0, -1.0, -1.0])
    return multiply(state.physics.q[:, JOINTS + 3 :], conjugate)


def _next_goal(state: HandState, reached: Bool[Array, " B"]) -> HandState:
    """A new goal where the old one is reached."""

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
    """A turn about y by the second angle, then about x by the first."""
    x, y, _ = jnp.eye(3)
    return multiply(axis_angle(x, angles[..., 0]), axis_angle(y, angles[..., 1]))


@cache
def _model(penalties: Penalties) -> Model:
    text = files("rfo.envs").joinpath("assets/hand.xml").read_text()
    return load(text, *penalties)


def hand_reorient(threads: int | None = None) -> HandReorient:
    """The task with Rewarped's bonus."""
    return HandReorient("hand_reorient", recorded_bonus, threads=threads)


def hand_reorient_corrected(threads: int | None = None) -> HandReorient:
    """The task whose bonus pays what it names."""
    return HandReorient("hand_reorient_corrected", promised_bonus, threads=threads)


def hand_reorient_smooth(threads: int | None = None) -> HandReorient:
    """The task with damping that sets in softly."""
    return HandReorient("hand_reorient_smooth", recorded_bonus, SMOOTH, threads)
