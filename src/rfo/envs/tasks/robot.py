"""Robot: whatever an MJCF file describes runs forward."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.base import EnvSpec, Step
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.kinematics import link_poses
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Joint
from rfo.types import Array, Bool, Float, PRNGKey

Reward = Callable[[ArticulatedState, Array], Array]
"""Of arriving in a state by an action in [-1, 1]: (B, ...), (B, A) -> (B,)."""

CONTACT = ContactParameters(ke=1e4, kd=1e2, kf=5e2, mu=0.8)
POSITION_NOISE = 0.05
"""[m, rad]"""
VELOCITY_NOISE = 0.05
"""[m/s, rad/s]"""
ACTION_COST = 0.1


def forward(state: ArticulatedState, action: Float[Array, "B A"]) -> Float[Array, " B"]:
    """Speed of the first link along x [m/s], less a tenth of the mean squared action."""
    return state.qd[:, 0] - ACTION_COST * jnp.mean(action**2, axis=-1)


class Robot:
    """A model of one's own as a task: `examples/02_your_own_robot.py`.

    The first joint is a free joint, or a slide along x. Action: one number in [-1, 1] for each motor.
    Observation: all coordinates but those of the place on the ground, then all velocities, as in
    `rfo.physics.model.Joint`. Reset: the file's reference pose, coordinates and velocities +-0.05, uniform.

    Args:
        source: MJCF file or text, see `rfo.physics.mjcf.load`.
        reward: of arriving in a state.
        lowest: height of the first link below which an episode terminates [m]; None for never.
        contact: constants of its geoms. Choose a stiffness that carries the weight within a millimetre or
            ten; `substeps` must resolve it.
        dt: duration of a control step [s].
        substeps: integration steps per control step.
        episode_length: control steps after which an episode is truncated.
        name: of the task.
        threads: CPU threads of the physics, by default as many as speed up the batch.

    Raises:
        FileNotFoundError, ValueError: see `rfo.physics.mjcf.load`; or if there is no motor, if the first
            joint is another, or `lowest` is given for a first link on a slide.
    """

    def __init__(
        self,
        source: str | Path,
        reward: Reward = forward,
        *,
        lowest: float | None = None,
        contact: ContactParameters = CONTACT,
        dt: float = 1 / 60,
        substeps: int = 16,
        episode_length: int = 1000,
        name: str = "robot",
        threads: int | None = None,
    ):
        model = load(source, contact)
        free = model.joint[0] == Joint.FREE
        if model.nu == 0:
            raise ValueError(
                "the model has no motor: give its actuator section one per driven joint"
            )
        if not free and not (model.joint[0] == Joint.SLIDE and model.axis[0] @ [1, 0, 0] > 0.999):
            raise ValueError(
                "the first joint must be a free joint or a slide along x, to run along"
            )
        if lowest is not None and not free:
            raise ValueError("`lowest` needs a first link on a free joint")
        self.reward = reward
        self.lowest = -np.inf if lowest is None else lowest
        self.hidden = 2 if free else 1  # coordinates of the place on the ground
        self.spec = EnvSpec(
            name,
            observation=model.nq + model.nv - self.hidden,
            action_size=model.nu,
            episode_length=episode_length,
            dt=dt,
        )
        self.simulator = Articulated(model, dt, substeps, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> ArticulatedState:
        """Near the reference pose, see the class."""
        rest = self.simulator.init(batch)
        of_q, of_qd = jax.random.split(key)
        return ArticulatedState(
            rest.q
            + jax.random.uniform(of_q, rest.q.shape, minval=-POSITION_NOISE, maxval=POSITION_NOISE),
            jax.random.uniform(of_qd, rest.qd.shape, minval=-VELOCITY_NOISE, maxval=VELOCITY_NOISE),
        )

    def observe(self, state: ArticulatedState) -> Float[Array, "B O"]:
        """See the class."""
        return jnp.concatenate([state.q[:, self.hidden :], state.qd], axis=-1)

    def step(self, state: ArticulatedState, action: Float[Array, "B A"]) -> Step:
        """See the class."""
        action = jnp.clip(action, -1.0, 1.0)
        after = self.simulator.step(state, action)
        return Step(after, self.observe(after), self.reward(after, action), self._terminated(after))

    def scene(self) -> dict[str, Any]:
        """See `rfo.envs.base.Renderable`."""
        return {"geoms": list(self.simulator.model.geoms)}

    def frame(self, state: ArticulatedState) -> dict[str, Array]:
        """See `rfo.envs.base.Renderable`."""
        return {"poses": link_poses(self.simulator.model, state.q)}

    def _terminated(self, state: ArticulatedState) -> Bool[Array, " B"]:
        if not np.isfinite(self.lowest):
            return jnp.zeros(len(state.q), bool)
        return state.q[:, 2] < self.lowest
