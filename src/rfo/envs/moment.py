"""What the terms of observations and rewards look at: robots at one moment.

`rfo.envs.observations` and `rfo.envs.rewards` have the terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from rfo.errors import SettingError
from rfo.physics.articulated import ActivatedState, State
from rfo.physics.kinematics import cord_lengths, link_poses, rotate, site_positions
from rfo.physics.model import Joint, Model
from rfo.types import Array, Float


@dataclass(frozen=True, eq=False)
class Body:
    """What stays the same about a robot.

    Its *trunk* is the first link that has a mass. Its *joints* are the slides and hinges that are
    driven, in the order of the file.
    """

    model: Model
    pose: np.ndarray
    """Coordinates near which episodes start, (nq,)."""
    dt: float
    """Duration of a control step [s]."""
    middle: np.ndarray
    """Control of each actuator at an action of 0, (nu,)."""
    half: np.ndarray
    """Change of the control per unit of action, (nu,)."""
    site: str = ""
    """The site that is to reach a target; "" for the last link's origin."""

    @cached_property
    def trunk(self) -> int:
        """Index of the trunk's link."""
        return int(np.argmax(self.model.mass > 0))

    @cached_property
    def coordinate_of(self) -> np.ndarray:
        """Index of the coordinate of each slide's and hinge's degree of freedom, (nv,); else -1."""
        found = np.full(self.model.nv, -1)
        scalar = np.isin(self.model.joint, (Joint.SLIDE, Joint.HINGE))
        found[self.model.v_start[scalar]] = self.model.q_start[scalar]
        return found

    @cached_property
    def dofs(self) -> np.ndarray:
        """Degrees of freedom of the joints, (n,)."""
        driven = np.unique(self.model.actuators.lengths.dof)
        return driven[self.coordinate_of[driven] >= 0]

    @cached_property
    def coordinates(self) -> np.ndarray:
        """Indices of the joints' coordinates, (n,)."""
        return self.coordinate_of[self.dofs]

    @cached_property
    def along(self) -> np.ndarray:
        """Rates of the actuators' lengths per unit of qd, (nu, nv); those of cords in one pose."""
        return self.model.actuators.lengths.jacobian(self.model.nv)

    def lengths(
        self, q: Float[Array, "B nq"], qd: Float[Array, "B nv"]
    ) -> tuple[Float[Array, "B nu"], Float[Array, "B nu"]]:
        """Lengths of the actuators at coordinates [m, rad], and their rates [m/s, rad/s]."""
        of, has = self.model.actuators.lengths, self.coordinate_of >= 0
        along = np.where((of.cord >= 0)[:, None], 0, self.along)
        lengths = q[:, self.coordinate_of[has]] @ jnp.asarray(along[:, has].T, q.dtype)
        rates = qd @ jnp.asarray(along.T, q.dtype)
        if not of.corded:
            return lengths, rates
        # each length is either a sum over joints or a gear times the length of a cord
        pick = np.zeros((len(self.model.cords), len(of)))
        corded = np.flatnonzero(of.cord >= 0)
        pick[of.cord[corded], corded] = of.gear[corded]
        stretched, stretching = cord_lengths(self.model, link_poses(self.model, q), qd)
        share = jnp.asarray(pick, q.dtype)
        return lengths + stretched @ share, rates + stretching @ share

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the joints."""
        return tuple(self.model.dof_names[dof] for dof in self.dofs)

    @cached_property
    def start(self) -> np.ndarray:
        """Poses of the links at the start, (L, 7)."""
        with jax.ensure_compile_time_eval():  # it may first be asked for in a traced function
            return np.asarray(link_poses(self.model, jnp.asarray(self.pose)[None])[0])

    @cached_property
    def sites_at_start(self) -> np.ndarray:
        """Places of all sites at the start [m], (sites, 3)."""
        with jax.ensure_compile_time_eval():
            sites = list(self.model.sites.values())
            return np.asarray(site_positions(jnp.asarray(self.start), sites))

    def site_numbers(self, names: tuple[str, ...]) -> np.ndarray:
        """Indices of sites among all sites of the model."""
        known = list(self.model.sites)
        return np.array([known.index(name) for name in names])

    @cached_property
    def down(self) -> np.ndarray:
        """The world's downward direction in the trunk's frame at the start, (3,)."""
        with jax.ensure_compile_time_eval():
            quat = jnp.asarray(self.start[None, self.trunk, 3:])
            return np.asarray(_seen_from(quat, jnp.asarray(DOWN, quat.dtype)[None, None])[0, 0])

    def require_free(self, term: str) -> None:
        """Refuse a term that needs a trunk on a free joint.

        Raises:
            SettingError: naming the term.
        """
        if self.model.joint[0] != Joint.FREE:
            raise SettingError(f"'{term}' needs a first link on a free joint")


DOWN = np.array([0.0, 0.0, -1.0])


def _seen_from(quat: Float[Array, "B 4"], vectors: Float[Array, "B n 3"]) -> Float[Array, "B n 3"]:
    """Vectors of the world in a frame that is turned by a quaternion."""
    back = quat * jnp.array([1.0, -1.0, -1.0, -1.0], quat.dtype)
    return rotate(jnp.broadcast_to(back[:, None], (*vectors.shape[:-1], 4)), vectors)


@dataclass(frozen=True, eq=False)
class Moment:
    """B robots at one moment: after a control step, or when they are observed."""

    body: Body
    state: State
    action: Float[Array, "B A"]
    """The last action, in [-1, 1]; 0 after a reset."""
    goal: Float[Array, "B 3"] | None = None
    """The command (forward, to the left [m/s], turning to the left [rad/s]) of a reward that
    follows one, or the target's place [m] of one that reaches; None for others."""
    before: Moment | None = None
    """The moment before the step, for rewards; None after a reset."""
    phase: Float[Array, " B"] | None = None
    """Where the robots are in the cycle of a gait, 0 to 2 pi [rad]; None without a `stride`."""

    @property
    def q(self) -> Float[Array, "B nq"]:
        """Coordinates, as `rfo.physics.model.Joint` has them [m, rad]."""
        return self.state.q

    @property
    def qd(self) -> Float[Array, "B nv"]:
        """Velocities [m/s, rad/s]."""
        return self.state.qd

    @cached_property
    def _poses(self) -> Float[Array, "B n L 7"]:
        """Poses now, and before if that is known."""
        moments = [self] if self.before is None else [self, self.before]
        return link_poses(self.body.model, jnp.stack([moment.q for moment in moments], axis=1))

    @property
    def poses(self) -> Float[Array, "B L 7"]:
        """Poses of the links in the world, as `rfo.physics.kinematics.link_poses` has them."""
        return self._poses[:, 0]

    @property
    def trunk(self) -> Float[Array, "B 7"]:
        """Pose of the trunk: place [m] and quaternion."""
        free = self.body.model.joint[0] == Joint.FREE
        return self.q[:, :7] if free else self.poses[:, self.body.trunk]

    @cached_property
    def _seen(self) -> Float[Array, "B n 3"]:
        """In the trunk's frame: its velocity and spin, if it is free; the world's downward
        direction."""
        vectors = jnp.broadcast_to(jnp.asarray(DOWN, self.q.dtype), (len(self.q), 1, 3))
        if self.body.model.joint[0] == Joint.FREE:
            vectors = jnp.concatenate([self.qd[:, :6].reshape(-1, 2, 3), vectors], axis=1)
        return _seen_from(self.trunk[:, 3:], vectors)

    @property
    def velocity(self) -> Float[Array, "B 3"]:
        """Velocity of a free trunk in its own frame [m/s]."""
        return self._seen[:, 0]

    @property
    def spin(self) -> Float[Array, "B 3"]:
        """Angular velocity of a free trunk in its own frame [rad/s]."""
        return self._seen[:, 1]

    @property
    def gravity(self) -> Float[Array, "B 3"]:
        """The world's downward direction in the trunk's frame."""
        return self._seen[:, -1]

    @property
    def joints(self) -> Float[Array, "B n"]:
        """Coordinates of the joints from where they start [m, rad]."""
        at = self.body.coordinates
        return self.q[:, at] - jnp.asarray(self.body.pose[at], self.q.dtype)

    @property
    def joint_velocities(self) -> Float[Array, "B n"]:
        """[m/s, rad/s]"""
        return self.qd[:, self.body.dofs]

    @cached_property
    def _places(self) -> Float[Array, "B n sites 3"]:
        """Places of all sites now, and before if that is known [m]."""
        return site_positions(self._poses, list(self.body.model.sites.values()))

    def sites(self, names: tuple[str, ...]) -> Float[Array, "B sites 3"]:
        """Places of sites in the world [m]."""
        return self._places[:, 0, self.body.site_numbers(names)]

    def moved(self, names: tuple[str, ...]) -> Float[Array, "B sites 3"]:
        """How sites moved in the step [m]."""
        return self.sites(names) - self._places[:, 1, self.body.site_numbers(names)]

    def rise(self, names: tuple[str, ...]) -> Float[Array, "B sites"]:
        """Heights of sites above those of the start [m]."""
        start = self.body.sites_at_start[self.body.site_numbers(names), 2]
        return self.sites(names)[..., 2] - jnp.asarray(start, self.q.dtype)

    def gait(self, term: str) -> Float[Array, " B"]:
        """The phase, for a term that needs it.

        Raises:
            SettingError: if there is none, naming the term.
        """
        if self.phase is None:
            raise SettingError(f"'{term}' needs a gait: give stride, the time of a cycle", "stride")
        return self.phase

    @property
    def reaching(self) -> Float[Array, "B 3"]:
        """Place of the site that is to reach a target [m]."""
        site = self.body.site
        return self.sites((site,))[:, 0] if site else self.poses[:, -1, :3]

    @property
    def rates(self) -> Float[Array, "B nu"]:
        """Rates of the lengths along which the actuators act [m/s, rad/s]."""
        return self._lengths[1]

    @cached_property
    def _lengths(self) -> tuple[Float[Array, "B nu"], Float[Array, "B nu"]]:
        return self.body.lengths(self.q, self.qd)

    @property
    def forces(self) -> Float[Array, "B nu"]:
        """Forces of the actuators along their lengths [N, N m], under the last action."""
        actuators, dtype = self.body.model.actuators, self.q.dtype
        gain, bias = (jnp.asarray(x, dtype) for x in (actuators.gain, actuators.bias))
        control = jnp.asarray(self.body.middle) + jnp.asarray(self.body.half) * self.action
        if isinstance(self.state, ActivatedState):
            control = control.at[:, actuators.activations].set(self.state.act)
        lengths, rates = self._lengths
        driven = gain[:, 0] + gain[:, 1] * lengths + gain[:, 2] * rates
        force = driven * control + bias[:, 0] + bias[:, 1] * lengths + bias[:, 2] * rates
        low, high = (jnp.asarray(x, dtype) for x in actuators.force_range.T)
        return jnp.clip(force, low, high)
