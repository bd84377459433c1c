"""Robot: whatever an MJCF file describes, and what it is paid for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs import observations, rewards
from rfo.envs.base import Entry, EnvSpec, Step
from rfo.envs.moment import Body, Moment
from rfo.envs.purposes import Goal, purpose_of
from rfo.envs.rewards import Reward
from rfo.envs.rigid import RigidTask
from rfo.envs.servos import control_range, target_range, with_servos
from rfo.errors import SettingError, unknown
from rfo.physics.articulated import Articulated, State
from rfo.physics.articulated_parameters import ArticulatedParameters
from rfo.physics.kinematics import unit_quaternions
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Joint, Model
from rfo.physics.reference import stable_step
from rfo.types import Array, Bool, Float, PRNGKey

CYCLE = 2 * np.pi
"""Phase of a whole cycle of a gait [rad]."""
FASTEST_TURN = 0.1
"""Turn of a joint in one substep beyond which its motion cannot be integrated [rad]."""
LEAST_SUBSTEPS = 4
"""Fewest substeps of a control step, so that what swings freely stays accurate."""
MOST_SUBSTEPS = 400
"""Most substeps of a control step; a file that needs more probably has a mistake."""
OPEN_RANGE = 1.0
"""Range to either side of the start in which targets are drawn for joints without limits [rad,
m]."""
TARGET_RADIUS = 0.03
"""Radius of the ball that marks a target in the replay [m]."""


class RobotState(NamedTuple):
    """State between two control steps."""

    physics: State
    action: Float[Array, "B A"]
    """The last action; zero after a reset."""
    goal: Float[Array, "B 3"] | None = None
    """See `rfo.envs.moment.Moment`."""
    phase: Float[Array, " B"] | None = None
    """See `rfo.envs.moment.Moment`."""
    noise: PRNGKey | None = None
    """Key of each environment's observation noise, if there is any."""


class Robot(RigidTask):
    """A robot of your own as a task; `examples/own_robot.py` shows one.

    **Reward**: a name of `rfo.envs.purposes`, a table of `rfo.envs.rewards`, or a function of a
    `rfo.envs.moment.Moment`. `forward` pays for running along x, `hold` for holding the start,
    `stand` for standing upright, `velocity` for following a command that is drawn for each episode,
    `reach` for bringing a site to a target. Without one, a robot whose first joint is free or a
    slide along the world's x is paid for `forward`, any other, such as an arm or a hand, for
    `hold`.

    **Action**: one number in [-1, 1] for each actuator. With `action_mode` "control" it stands for
    the actuator's control range from end to end, with "position" for a servo's target, the start
    plus `scale` times the action; a motor gets a servo then. `EnvSpec.control_range` has the map.

    **Observation**: terms of `rfo.envs.observations`, by default those that go with the reward;
    `EnvSpec.entries` names them.

    **Reset**: a keyframe of the file, or its reference pose where it has none, coordinates and
    velocities +-`start_noise`, uniform, moved into the joints' limits; activations 0.

    An episode terminates if a joint turns by more than a tenth of a radian in a substep, because
    faster rotation cannot be integrated. More substeps allow faster rotation.
    `simulator.substeps` is the number of integration steps per control step, chosen or given.

    Args:
        source: MJCF file or text, see `rfo.physics.mjcf.load`; or what it returned.
        reward: name, table of weights, or function; None: see above.
        observe: names of terms, or functions of a moment, that make up the observation.
        goal: what is drawn for each episode: none, command or target; None: what the reward's terms
            need.
        slowest: smallest command, forward and to the left [m/s], turning to the left [rad/s].
        fastest: largest command, in the same order.
        stride: time of a gait's cycle [s], for terms that need its phase, such as `foot_swing`; the
            phase is drawn at a reset, and the observation shows it. None: no gait.
        site: what is to reach the target; None: the file's last site, or the last link's origin.
        spread: share of the joints' ranges, about the start, from which a pose is drawn that has
            the site at the target.
        action_mode: control or position.
        scale: change of a servo's target per unit of action [rad or m], for actions as positions.
        stiffness: of servos in place of motors [N m/rad or N/m]; None: see `rfo.envs.servos`.
        damping: of the same [N m s/rad or N s/m].
        start_noise: largest deviation of coordinates and velocities from the start, in SI units.
        observation_noise: largest error of an observation's terms, by name, uniform and new in each
            step.
        lowest: height of the first link below which an episode terminates [m]; None for never.
        tilt: lean of the trunk from the start beyond which an episode terminates [rad]; None: 1.2
            for stand and velocity, never for the others.
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
            a first link that is not free, if a number must be positive, if a name is unknown, if a
            term does not fit the robot, or if it takes more than 400 substeps.

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
        >>> rfo.Robot(ball, {"forward_velocity": 1.0}, observe=("velocities",)).spec.entries
        (Entry(name='velocities', size=1, scale=1.0),)
    """

    def __init__(
        self,
        source: str | Path | Model,
        reward: str | Mapping[str, Any] | Reward | None = None,
        *,
        observe: tuple[str | observations.Term, ...] | None = None,
        goal: Goal | None = None,
        slowest: tuple[float, float, float] = (-0.5, -0.3, -0.5),
        fastest: tuple[float, float, float] = (1.0, 0.3, 0.5),
        stride: float | None = None,
        site: str | None = None,
        spread: float = 0.5,
        action_mode: Literal["control", "position"] = "control",
        scale: float = 0.5,
        stiffness: float | None = None,
        damping: float | None = None,
        start_noise: float = 0.05,
        observation_noise: Mapping[str, float] | None = None,
        lowest: float | None = None,
        tilt: float | None = None,
        contact: ContactParameters | None = None,
        dt: float = 1 / 60,
        substeps: int | None = None,
        episode_length: int = 1000,
        keyframe: str | None = None,
        name: str = "robot",
        threads: int | None = None,
    ):
        _require_positive(
            dt=dt,
            substeps=substeps,
            episode_length=episode_length,
            scale=scale,
            stride=stride,
            spread=spread,
            stiffness=stiffness,
            damping=damping,
            tilt=tilt,
        )
        substep = None if substeps is None else dt / substeps
        model = source if isinstance(source, Model) else load(source, contact, substep=substep)
        _refuse(model, lowest)
        start = _start(model, keyframe)
        pose = np.clip(start, *_limits(model))
        if (pose != start).any():
            note = "joints that start beyond a limit are moved to it"
            model = replace(model, notes=(*model.notes, note))
        purpose = purpose_of(reward, goal, model)
        position = action_mode == "position"
        model = with_servos(model, stiffness, damping) if position else model
        ranges = target_range(model, pose, scale) if position else control_range(model)
        low, high = np.array(ranges, np.float32).T
        self.body = Body(model, pose, dt, (high + low) / 2, (high - low) / 2, _site(model, site))
        self.reward = reward if callable(reward) else rewards.weighted(purpose.reward)
        seen = observe or (*purpose.observe, *(() if stride is None else ("gait_phase",)))
        self.terms = [observations.find(term) for term in seen]
        self.goal: Goal = purpose.goal
        self.slowest, self.fastest, self.spread = slowest, fastest, spread
        self.stride, self.start_noise = stride, start_noise
        self.lowest = -np.inf if lowest is None else lowest
        self.tilt = purpose.tilt if tilt is None else tilt
        self.simulator = Articulated(model, dt, substeps or _substeps(model, dt), threads=threads)
        # Velocity of each degree of freedom above which an episode terminates.
        self._fastest = np.where(_turns(model), FASTEST_TURN * self.simulator.substeps / dt, np.inf)
        self._noise: np.ndarray | None = None
        entries = self._entries()
        self.spec = EnvSpec(
            name,
            observation=sum(entry.size for entry in entries),
            action_size=model.nu,
            episode_length=episode_length,
            dt=dt,
            control_range=ranges,
            entries=entries,
        )
        self._noise = observations.largest_errors(observation_noise or {}, entries)

    def reset(self, key: PRNGKey, batch: int) -> RobotState:
        """Draw `batch` start states; the class gives the ranges."""
        model = self.simulator.model
        of_q, of_qd, of_goal, of_noise, of_phase = jax.random.split(key, 5)
        q, qd = (batch, model.nq), (batch, model.nv)
        noise = self.start_noise * jax.random.uniform(of_q, q, minval=-1.0, maxval=1.0)
        low, high = (jnp.asarray(limit, jnp.float32) for limit in _limits(model))
        physics = self.simulator.init(batch)._replace(
            q=unit_quaternions(
                model, jnp.clip(jnp.asarray(self.body.pose, jnp.float32) + noise, low, high)
            ),
            qd=self.start_noise * jax.random.uniform(of_qd, qd, minval=-1.0, maxval=1.0),
        )
        return RobotState(
            physics,
            jnp.zeros((batch, model.nu)),
            self._draw_goal(of_goal, batch),
            None if self.stride is None else CYCLE * jax.random.uniform(of_phase, (batch,)),
            None if self._noise is None else jax.random.split(of_noise, batch),
        )

    def observe(self, state: RobotState) -> Float[Array, "B O"]:
        """See the class."""
        return self._observed(self._moment(state), state.noise)

    def step(
        self,
        state: RobotState,
        action: Float[Array, "B A"],
        parameters: ArticulatedParameters | None = None,
    ) -> Step:
        """See the class."""
        action = jnp.clip(action, -1.0, 1.0)
        control = jnp.asarray(self.body.middle) + jnp.asarray(self.body.half) * action
        physics = self.simulator.step(state.physics, control, parameters)
        after = state._replace(physics=physics, action=action)
        if state.noise is not None:
            after = after._replace(noise=jax.vmap(lambda k: jax.random.split(k, 1)[0])(state.noise))
        if state.phase is not None and self.stride is not None:
            turned = CYCLE * self.simulator.dt / self.stride
            after = after._replace(phase=(state.phase + turned) % CYCLE)
        now = self._moment(after, self._moment(state))
        seen = self._observed(now, after.noise)
        return Step(after, seen, self.reward(now), self._terminated(now))

    @property
    def pose(self) -> tuple[float, ...]:
        """The mean start, as `rfo.envs.base.Actuated` describes."""
        return tuple(self.body.pose.tolist())

    def scene(self) -> dict[str, Any]:
        """See `rfo.envs.base.Renderable`."""
        scene = super().scene()
        if self.goal == "target":
            ball = {"type": "sphere", "size": [TARGET_RADIUS], "pos": [0, 0, 0]}
            ball |= {"quat": [1, 0, 0, 0], "rgba": [0.9, 0.3, 0.2, 1.0]}
            scene["geoms"].append({**ball, "body": self.simulator.model.links})
        return scene

    def frame(self, state: RobotState) -> dict[str, Array]:
        """See `rfo.envs.base.Renderable`."""
        poses = super().frame(state)["poses"]
        if self.goal == "target" and state.goal is not None:
            still = jnp.broadcast_to(jnp.array([1.0, 0.0, 0.0, 0.0]), (len(poses), 4))
            target = jnp.concatenate([state.goal, still], axis=-1)
            poses = jnp.concatenate([poses, target[:, None]], axis=1)
        return {"poses": poses}

    def _observed(self, now: Moment, noise: PRNGKey | None) -> Float[Array, "B O"]:
        """What is seen in a moment, with noise by each environment's key."""
        seen = jnp.concatenate([term(now) for _, term in self.terms], axis=-1)
        if noise is None or self._noise is None:
            return seen
        shape = seen.shape[1:]
        drawn = jax.vmap(lambda key: jax.random.uniform(key, shape, minval=-1.0, maxval=1.0))
        return seen + self._noise * drawn(noise)

    def _moment(self, state: RobotState, before: Moment | None = None) -> Moment:
        return Moment(self.body, state.physics, state.action, state.goal, before, state.phase)

    def _draw_goal(self, key: PRNGKey, batch: int) -> Float[Array, "B 3"] | None:
        """What the class says of commands and targets."""
        if self.goal == "none":
            return None
        if self.goal == "command":
            slowest, fastest = jnp.array(self.slowest), jnp.array(self.fastest)
            return jax.random.uniform(key, (batch, 3), minval=slowest, maxval=fastest)
        at, pose = self.body.coordinates, self.body.pose
        low, high = (limit[at] for limit in _limits(self.simulator.model))
        low = np.where(np.isfinite(low), low, pose[at] - OPEN_RANGE)
        high = np.where(np.isfinite(high), high, pose[at] + OPEN_RANGE)
        drawn = jax.random.uniform(key, (batch, len(at)), minval=low, maxval=high)
        q = jnp.tile(jnp.asarray(pose, jnp.float32), (batch, 1))
        q = q.at[:, at].add(self.spread * (drawn - pose[at]))
        still = self.simulator.init(batch)._replace(q=q)
        return Moment(self.body, still, jnp.zeros((batch, 0))).reaching

    def _entries(self) -> tuple[Entry, ...]:
        """The observation's terms with their sizes; tries each term, and the reward, once."""
        state = jax.eval_shape(lambda: self.reset(jax.random.key(0), 2))
        sizes = jax.eval_shape(lambda s: [term(self._moment(s)) for _, term in self.terms], state)
        paid = jax.eval_shape(lambda s: self.reward(self._moment(s, self._moment(s))), state)
        if getattr(paid, "shape", None) != (2,):
            raise SettingError("a reward returns one number for each robot, (B,)", "reward")
        for (name, _), seen in zip(self.terms, sizes, strict=True):
            if seen.ndim != 2 or len(seen) != 2:
                raise SettingError(f"{name} must return an array (B, n)", "observe")
        # a robot without activations does not see any
        seen = [(pair, x.shape[1]) for pair, x in zip(self.terms, sizes, strict=True) if x.shape[1]]
        self.terms = [pair for pair, _ in seen]
        return tuple(Entry(name, size) for (name, _), size in seen)

    def _terminated(self, now: Moment) -> Bool[Array, " B"]:
        ended = jnp.any(jnp.abs(now.qd) > self._fastest, axis=-1)
        if np.isfinite(self.lowest):
            ended |= now.q[:, 2] < self.lowest
        return ended if self.tilt is None else ended | (rewards.upright(now) < np.cos(self.tilt))


def _require_positive(**values: float | None) -> None:
    for field, value in values.items():
        if value is not None and not (np.isfinite(value) and value > 0):
            raise SettingError(f"{field} must be positive, not {value}", field)


def _site(model: Model, site: str | None) -> str:
    if site is not None and site not in model.sites:
        told = unknown("site", site, model.sites) if model.sites else "the file has no sites"
        raise SettingError(told, "site")
    carried = [name for name, place in model.sites.items() if place.link >= 0]
    return site or (carried[-1] if carried else "")


def _limits(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper limit of each coordinate [m, rad], each (nq,)."""
    limits = np.full((2, model.nq), [[-np.inf], [np.inf]])
    scalar = model.v_count == 1
    dofs = model.v_start[scalar]
    limits[:, model.q_start[scalar]] = model.limit_lower[dofs], model.limit_upper[dofs]
    return limits[0], limits[1]


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
