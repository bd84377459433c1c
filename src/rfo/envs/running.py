"""What the tasks share in which a robot with a free torso runs: start, observation, posture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo.envs.base import Entry, EnvSpec, Step
from rfo.envs.rigid import RigidTask
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.articulated_parameters import ArticulatedParameters
from rfo.physics.kinematics import axis_angle, rotate
from rfo.physics.model import Model
from rfo.types import Array, Float, PRNGKey

POSITION_NOISE = 0.1
"""Largest deviation of the torso's start position in each coordinate [m]."""
ANGLE_NOISE = jnp.pi / 24
"""Largest rotation of the torso at the start [rad]."""
JOINT_NOISE = 0.2
"""Largest deviation of the joints at the start [rad]."""
VELOCITY_NOISE = 0.25
"""Largest velocity at the start [m/s, rad/s]."""
JOINT_VELOCITY_SCALE = 0.1
"""Factor on the joint velocities in the observation."""


class RunningState(NamedTuple):
    """State between two control steps: physics and last action."""

    physics: ArticulatedState
    action: Float[Array, "B A"]
    """The last action; zero after a reset."""


class Runner(RigidTask, ABC):
    """Base of the tasks in which a robot runs forward, towards a target far away on the x axis.

    The torso is the first link and has a FREE joint; all other joints are hinges. z is up. Torques
    are minus the gears times the action, as in Rewarped. A subclass sets the fields and gives the
    reward.

    Args:
        name: name of the task.
        model: the robot.
        substeps: integration steps of a control step of 1/60 s.
        threads: CPU threads of the physics; by default as many as speed up the batch.
    """

    start: tuple[float, float, float]
    """Mean position of the torso's centre at the start [m]."""
    joints: tuple[float, ...]
    """Mean angles of the joints at the start [rad]."""
    target: float
    """The target lies at (target, 0) [m]; the heading is measured against the direction to it."""
    lowest: float
    """Height of the torso's centre below which the episode ends [m]."""

    def __init__(self, name: str, model: Model, substeps: int, threads: int | None = None):
        hinges = len(self.joints)
        entries = (
            Entry("height", 1),
            Entry("orientation", 4),
            Entry("velocity", 3),
            Entry("angular_velocity", 3),
            Entry("joint_angles", hinges),
            Entry("joint_velocities", hinges, JOINT_VELOCITY_SCALE),
            Entry("up", 1),
            Entry("heading", 1),
            Entry("last_action", hinges),
        )
        self.spec = EnvSpec(
            name,
            observation=sum(entry.size for entry in entries),
            action_size=hinges,
            episode_length=1000,
            dt=1 / 60,
            entries=entries,
            control_range=((1.0, -1.0),) * hinges,
        )
        self.simulator = Articulated(model, self.spec.dt, substeps, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> RunningState:
        """Draw `batch` start states near an upright pose.

        All noise is uniform: position +-0.1 m in each coordinate, a rotation by up to +-7.5 degrees
        about a random axis, joints +-0.2 rad, velocities +-0.25. As in Rewarped, the torso's linear
        velocity is drawn for the point of the torso that lies at the world's origin [m/s].
        """
        # A single draw: a batch resets at every control step, and threefry costs more than the
        # rest.
        hinges = len(self.joints)
        draw = jax.random.uniform(key, (batch, 13 + 2 * hinges), minval=-1.0, maxval=1.0)
        shift, axis, turn, bend, velocity = jnp.split(draw, (3, 6, 7, 7 + hinges), axis=-1)
        place = jnp.array(self.start) + POSITION_NOISE * shift
        axis = axis / jnp.linalg.norm(axis, axis=-1, keepdims=True)
        orientation = axis_angle(axis, ANGLE_NOISE * turn[:, 0])
        qd = VELOCITY_NOISE * velocity
        qd = qd.at[:, :3].add(jnp.cross(qd[:, 3:6], place))
        joints = jnp.array(self.joints) + JOINT_NOISE * bend
        q = jnp.concatenate([place, orientation, joints], axis=-1)
        return RunningState(ArticulatedState(q, qd), jnp.zeros((batch, hinges)))

    def observe(self, state: RunningState) -> Float[Array, "B O"]:
        """Observation of a state; the class lists its entries."""
        q, qd = state.physics
        return jnp.concatenate(
            [
                q[:, 2:7],
                qd[:, :6],
                q[:, 7:],
                JOINT_VELOCITY_SCALE * qd[:, 6:],
                up(q)[:, None],
                self.heading(q)[:, None],
                state.action,
            ],
            axis=-1,
        )

    def step(
        self,
        state: RunningState,
        action: Float[Array, "B A"],
        parameters: ArticulatedParameters | None = None,
    ) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1]."""
        action = jnp.clip(action, -1.0, 1.0)
        after = RunningState(self.simulator.step(state.physics, -action, parameters), action)
        fallen = after.physics.q[:, 2] < self.lowest
        return Step(after, self.observe(after), self.reward(after), fallen)

    @abstractmethod
    def reward(self, state: RunningState) -> Float[Array, " B"]:
        """Reward for arriving in a state; the class gives the formula."""

    def heading(self, q: Float[Array, "B nq"]) -> Float[Array, " B"]:
        """Component of the torso's x axis in the direction of the target."""
        target = jnp.array([self.target, 0.0]) - q[:, :2]
        direction = target / jnp.linalg.norm(target, axis=-1, keepdims=True)
        return jnp.sum(rotate(q[:, 3:7], jnp.array([1.0, 0.0, 0.0]))[:, :2] * direction, axis=-1)

    @property
    def pose(self) -> tuple[float, ...]:
        """The upright start pose, as `rfo.envs.base.Actuated` describes."""
        return (*self.start, 1.0, 0.0, 0.0, 0.0, *self.joints)


def up(q: Float[Array, "B nq"]) -> Float[Array, " B"]:
    """Vertical component of the torso's z axis."""
    return rotate(q[:, 3:7], jnp.array([0.0, 0.0, 1.0]))[:, 2]
