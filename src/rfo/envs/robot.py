"""Robot: whatever an MJCF file describes runs forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.base import Entry, EnvSpec, Step
from rfo.errors import SettingError
from rfo.physics.articulated import Articulated, State
from rfo.physics.articulated_parameters import ArticulatedParameters
from rfo.physics.kinematics import link_poses, rotate
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Joint, Model
from rfo.physics.reference import stable_step
from rfo.types import Array, Bool, Float, PRNGKey

Reward = Callable[[State, Array], Array]
"""Reward of arriving in a state by an action in [-1, 1]: (B, ...), (B, A) -> (B,)."""

FASTEST_TURN = 0.1
"""Turn of a joint in one substep beyond which its motion cannot be integrated [rad]."""
LEAST_SUBSTEPS = 4
"""Fewest substeps of a control step, so that what swings freely stays accurate."""
MOST_SUBSTEPS = 400
"""Most substeps of a control step; a file that needs more probably has a mistake."""
POSITION_NOISE = 0.05
"""Largest deviation of the start's coordinates [m, rad]."""
VELOCITY_NOISE = 0.05
"""Largest velocity at the start [m/s, rad/s]."""
ACTION_COST = 0.1


def forward(state: State, action: Float[Array, "B A"]) -> Float[Array, " B"]:
    """Speed of the first link along x [m/s], less a tenth of the mean squared action."""
    return state.qd[:, 0] - ACTION_COST * jnp.mean(action**2, axis=-1)


def hold(start: Float[Array, " nq"]) -> Reward:
    """A reward for staying in a pose: minus the mean squared distance of all coordinates from it
    [m, rad], and the cost of actions that `forward` has."""

    def reward(state: State, action: Array) -> Array:
        away = jnp.mean((state.q - start) ** 2, axis=-1)
        return -away - ACTION_COST * jnp.mean(action**2, axis=-1)

    return reward


class Robot:
    """A robot of your own as a task; `examples/own_robot.py` shows one.

    A robot whose first joint is free or a slide along the world's x is paid for running `forward`,
    any other, such as an arm or a hand, to `hold` its start, unless it has a reward of its own.
    Action: one number in [-1, 1] for each actuator, which stands for its control range from end to
    end (`EnvSpec.control_range`). Observation: all coordinates but those of the place on the
    ground, if it runs, all velocities, as in `rfo.physics.model.Joint`, then all activations.
    Reset: a keyframe of the file, or its reference pose where it has none, coordinates and
    velocities +-0.05, uniform, moved into the joints' limits; activations 0.

    An episode terminates if a joint turns by more than a tenth of a radian in a substep, because
    faster rotation cannot be integrated. More substeps allow faster rotation.
    `simulator.substeps` is the number of integration steps per control step, chosen or given.

    Args:
        source: MJCF file or text, see `rfo.physics.mjcf.load`.
        reward: of arriving in a state; None: see above.
        lowest: height of the first link below which an episode terminates [m]; None for never.
        contact: constants of its geoms; None: from the masses that they hold and the file, see
            `rfo.physics.mjcf.constants`.
        dt: duration of a control step [s].
        substeps: integration steps per control step; None: as many as the stiffest contact, limit
            and spring need to be stable. Where both are given, constants from the file are softened
            to be stable with that many.
        episode_length: control steps after which an episode is truncated.
        keyframe: name of the keyframe that episodes start near; None: the first, if there is one.
        name: of the task.
        threads: CPU threads of the physics, by default as many as speed up the batch.

    Raises:
        FileNotFoundError: no file at `source`.
        SettingError: see `rfo.physics.mjcf.load`; or if there is no motor, if `lowest` is given for
            a first link that is not free, if a number must be positive, or if it takes more than
            400 substeps.

    Example:
        >>> import rfo
        >>> ball = '''<mujoco>
        ...   <worldbody><body>
        ...     <joint name="x" type="slide" axis="1 0 0"/> <geom size="0.1" mass="1"/>
        ...   </body></worldbody>
        ...   <actuator><motor joint="x" ctrlrange="-1 1" ctrllimited="true"/></actuator>
        ... </mujoco>'''
        >>> rfo.Robot(ball, episode_length=100).spec.action_size
        1
    """

    def __init__(
        self,
        source: str | Path,
        reward: Reward | None = None,
        *,
        lowest: float | None = None,
        contact: ContactParameters | None = None,
        dt: float = 1 / 60,
        substeps: int | None = None,
        episode_length: int = 1000,
        keyframe: str | None = None,
        name: str = "robot",
        threads: int | None = None,
    ):
        for field, value in (
            ("dt", dt),
            ("substeps", substeps),
            ("episode_length", episode_length),
        ):
            if value is not None and not (np.isfinite(value) and value > 0):
                raise SettingError(f"{field} must be positive, not {value}", field)
        model = load(source, contact, substep=None if substeps is None else dt / substeps)
        start = _start(model, keyframe)
        self._start = np.clip(start, *_limits(model))
        if (self._start != start).any():
            note = "joints that start beyond a limit are moved to it"
            model = replace(model, notes=(*model.notes, note))
        _refuse(model, lowest)
        runs = _runs(model)
        self.reward = reward or (forward if runs else hold(jnp.asarray(self._start, jnp.float32)))
        self.lowest = -np.inf if lowest is None else lowest
        # Number of coordinates of the place on the ground, which the policy does not see.
        self.hidden = (2 if model.joint[0] == Joint.FREE else 1) if runs else 0
        self.spec = EnvSpec(
            name,
            observation=model.nq + model.nv + model.na - self.hidden,
            action_size=model.nu,
            episode_length=episode_length,
            dt=dt,
            control_range=_control_range(model),
            entries=(
                Entry("coordinates_off_the_ground", model.nq - self.hidden),
                Entry("velocities", model.nv),
                *([Entry("activations", model.na)] if model.na else []),
            ),
        )
        low, high = np.array(self.spec.control_range, np.float32).T
        self._middle, self._half = (high + low) / 2, (high - low) / 2
        self.simulator = Articulated(model, dt, substeps or _substeps(model, dt), threads=threads)
        # Velocity of each degree of freedom above which an episode terminates.
        self._fastest = np.where(_turns(model), FASTEST_TURN * self.simulator.substeps / dt, np.inf)

    def reset(self, key: PRNGKey, batch: int) -> State:
        """Draw `batch` start states; the class gives the ranges."""
        model = self.simulator.model
        of_q, of_qd = jax.random.split(key)
        q, qd = (batch, model.nq), (batch, model.nv)
        noise = jax.random.uniform(of_q, q, minval=-POSITION_NOISE, maxval=POSITION_NOISE)
        low, high = (jnp.asarray(limit, jnp.float32) for limit in _limits(model))
        return self.simulator.init(batch)._replace(
            q=jnp.clip(jnp.asarray(self._start, jnp.float32) + noise, low, high),
            qd=jax.random.uniform(of_qd, qd, minval=-VELOCITY_NOISE, maxval=VELOCITY_NOISE),
        )

    def observe(self, state: State) -> Float[Array, "B O"]:
        """See the class."""
        return jnp.concatenate([state.q[:, self.hidden :], *state[1:]], axis=-1)

    def step(
        self,
        state: State,
        action: Float[Array, "B A"],
        parameters: ArticulatedParameters | None = None,
    ) -> Step:
        """See the class."""
        action = jnp.clip(action, -1.0, 1.0)
        after = self.simulator.step(state, self._middle + self._half * action, parameters)
        return Step(after, self.observe(after), self.reward(after, action), self._terminated(after))

    @property
    def pose(self) -> tuple[float, ...]:
        """The mean start, as `rfo.envs.base.Actuated` describes."""
        return tuple(self._start.tolist())

    def scene(self) -> dict[str, Any]:
        """See `rfo.envs.base.Renderable`."""
        return {"geoms": list(self.simulator.model.geoms)}

    def frame(self, state: State) -> dict[str, Array]:
        """See `rfo.envs.base.Renderable`."""
        return {"poses": link_poses(self.simulator.model, state.q)}

    def _terminated(self, state: State) -> Bool[Array, " B"]:
        ended = jnp.any(jnp.abs(state.qd) > self._fastest, axis=-1)
        return ended | (state.q[:, 2] < self.lowest) if np.isfinite(self.lowest) else ended


def _limits(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper limit of each coordinate [m, rad], each (nq,)."""
    limits = np.full((2, model.nq), [[-np.inf], [np.inf]])
    scalar = model.v_count == 1
    dofs = model.v_start[scalar]
    limits[:, model.q_start[scalar]] = model.limit_lower[dofs], model.limit_upper[dofs]
    return limits[0], limits[1]


def _control_range(model: Model) -> tuple[tuple[float, float], ...]:
    """Control range of each actuator; [-1, 1] where the file gives none."""
    ranges = model.actuators.control_range
    return tuple(
        (-1.0, 1.0) if np.isinf(low) else (float(low), float(high)) for low, high in ranges
    )


def _start(model: Model, keyframe: str | None) -> np.ndarray:
    """Coordinates of a keyframe, or of the reference pose if the file has none, (nq,)."""
    if keyframe is None:
        return next(iter(model.keyframes.values()), model.q0)
    if keyframe not in model.keyframes:
        known = ", ".join(model.keyframes) or "none"
        raise SettingError(f"no keyframe '{keyframe}': the file has {known}", "keyframe")
    return model.keyframes[keyframe]


def _substeps(model: Model, dt: float) -> int:
    """Number of substeps that the model needs to be stable."""
    needed = int(np.ceil(dt / stable_step(model)))
    if needed > MOST_SUBSTEPS:
        raise SettingError(
            f"the stiffest contact, limit or spring needs {needed} substeps in {dt:.3g} s:"
            " soften it (a longer solref, lighter springs), lower dt, or give substeps",
            "substeps",
        )
    return max(LEAST_SUBSTEPS, needed)


def _runs(model: Model) -> bool:
    """Whether the first joint is free, or a slide along the world's x."""
    along = np.asarray(rotate(jnp.asarray(model.quat[0]), jnp.asarray(model.axis[0])))
    slides = model.joint[0] == Joint.SLIDE and along[0] > 0.999
    return bool(model.joint[0] == Joint.FREE or slides)


def _refuse(model: Model, lowest: float | None) -> None:
    """Refuse a model without motors, and `lowest` for a first link that is not free."""
    free = model.joint[0] == Joint.FREE
    if model.nu == 0:
        raise SettingError("the model has no motor: give its actuator section one per driven joint")
    if lowest is not None and not free:
        raise SettingError("`lowest` needs a first link on a free joint", "lowest")


def _turns(model: Model) -> np.ndarray:
    """Whether each degree of freedom is a rotation, (nv,)."""
    turns = {
        Joint.FREE: (0, 0, 0, 1, 1, 1),
        Joint.BALL: (1, 1, 1),
        Joint.SLIDE: (0,),
        Joint.HINGE: (1,),
    }
    return np.concatenate([turns[Joint(kind)] for kind in model.joint]).astype(bool)
