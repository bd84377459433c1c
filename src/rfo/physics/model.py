"""Articulated models as plain arrays; `rfo.physics.mjcf` imports them from MJCF.

A model is a forest of *links*. Each link hangs on its parent by one joint; its frame sits at the
joint's anchor and, in the reference configuration, is turned against the parent's frame by
`Model.quat`. A MuJoCo body with several joints becomes a chain of links of which all but the last
are massless; a body without joints is merged into its parent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rfo.physics.cords import NO_CORDS, Cords
from rfo.physics.lengths import NO_COUPLINGS, NO_TENDONS, Actuators, Couplings, Tendons
from rfo.physics.pairs import NO_PAIRS, Pairs
from rfo.physics.supports import NO_SUPPORTS, Supports
from rfo.physics.welds import NO_WELDS, Welds


class Joint(IntEnum):
    """Joint types. Coordinates: FREE 7 q / 6 qd, BALL 4 / 3, SLIDE 1 / 1, HINGE 1 / 1.

    FREE: q = position of the link's origin in the world [m] and its quaternion (w, x, y, z);
    qd = linear velocity of the origin in the world [m/s], angular velocity in the *world* frame
    [rad/s]. BALL: q = quaternion relative to the reference orientation; qd = angular velocity in
    the link's frame.
    """

    FREE = 0
    BALL = 1
    SLIDE = 2
    HINGE = 3


class Site(NamedTuple):
    """A point fixed in a link (-1: in the world)."""

    link: int
    pos: tuple[float, float, float]
    """In the link's frame [m]."""


@dataclass(frozen=True, eq=False)
class Model:
    """An articulated model of L links with nq coordinates, nv degrees of freedom, nu controls.

    C spheres (`contact_*`) touch the ground: a sphere is one, a capsule has two at its ends, a box
    has eight of radius 0 at its corners. `supports` has other shapes, and contact with other
    planes.
    """

    # tree
    parent: np.ndarray  # (L,) int, -1 = world; parent[i] < i
    joint: np.ndarray  # (L,) int, Joint
    pos: np.ndarray  # (L, 3) joint anchor in the parent link's frame [m]
    quat: np.ndarray  # (L, 4) reference orientation in the parent link's frame
    axis: np.ndarray  # (L, 3) unit joint axis in the link's frame (SLIDE, HINGE)
    # inertia
    mass: np.ndarray  # (L,) [kg]
    com: np.ndarray  # (L, 3) centre of mass in the link's frame [m]
    inertia: np.ndarray  # (L, 3, 3) about the centre of mass, in the link's frame [kg m^2]
    # coordinates
    q0: np.ndarray  # (nq,) reference configuration
    armature: np.ndarray  # (nv,) added to the mass matrix's diagonal [kg or kg m^2]
    damping: np.ndarray  # (nv,) joint damping [N s/m or N m s/rad]
    stiffness: np.ndarray  # (nv,) joint spring [N/m or N m/rad]; 0 on FREE and BALL
    spring_reference: np.ndarray  # (nv,) rest coordinate of the spring
    limit_lower: np.ndarray  # (nv,) -inf where free
    limit_upper: np.ndarray  # (nv,) +inf where free
    limit_ke: np.ndarray  # (nv,) limit penalty [N/m or N m/rad]
    limit_kd: np.ndarray  # (nv,) limit damping, active beyond the limit
    # controls
    actuators: Actuators
    # contact spheres against the ground
    contact_link: np.ndarray  # (C,) int
    contact_pos: np.ndarray  # (C, 3) in the link's frame [m]
    contact_radius: np.ndarray  # (C,) [m]
    contact_ke: np.ndarray  # (C,) penalty stiffness [N/m]
    contact_kd: np.ndarray  # (C,) normal damping [N s/m]
    contact_kf: np.ndarray  # (C,) slope of the friction force at rest [N s/m]
    contact_mu: np.ndarray  # (C,) Coulomb coefficient
    contact_kh: np.ndarray  # (C,) normal damping per depth [N s/m^2]
    # world
    gravity: np.ndarray  # (3,) [m/s^2]
    ground_normal: np.ndarray  # (3,) unit
    ground_height: float  # along the normal [m]
    # names and looks
    link_names: tuple[str, ...]
    dof_names: tuple[str, ...]
    supports: Supports = NO_SUPPORTS  # contact with planes in other ways
    pairs: Pairs = NO_PAIRS  # contact of bodies with one another
    tendons: Tendons = NO_TENDONS
    couplings: Couplings = NO_COUPLINGS
    cords: Cords = NO_CORDS  # that lengths of actuators, tendons and couplings may be those of
    welds: Welds = NO_WELDS
    geoms: tuple[dict, ...] = ()  # for drawing, see rfo.envs.base.Renderable
    keyframes: dict[str, np.ndarray] = field(default_factory=dict)  # (nq,) coordinates, by name
    sites: dict[str, Site] = field(default_factory=dict)  # by name
    notes: tuple[str, ...] = ()  # a line for each thing that is read differently than in MuJoCo
    source: str | Path = ""  # MJCF file or text that it was read from

    @property
    def contact_law(self) -> np.ndarray:
        """(C, 5): k_e, k_d, k_f, mu and k_h of each contact with the ground, as `Pairs.law` has
        them."""
        law = (self.contact_ke, self.contact_kd, self.contact_kf, self.contact_mu, self.contact_kh)
        return np.stack(law, axis=-1)

    @property
    def links(self) -> int:
        """Number of links L."""
        return len(self.parent)

    @property
    def nq(self) -> int:
        """Number of coordinates."""
        return len(self.q0)

    @property
    def nv(self) -> int:
        """Number of degrees of freedom."""
        return len(self.armature)

    @property
    def nu(self) -> int:
        """Number of controls."""
        return len(self.actuators.names)

    @property
    def na(self) -> int:
        """Number of activations."""
        return len(self.actuators.activations)

    @property
    def motorised(self) -> bool:
        """Whether all controls are motors and nothing else acts along lengths."""
        return self.actuators.plain and not (len(self.tendons.lengths) or len(self.couplings.ke))

    @property
    def q_start(self) -> np.ndarray:
        """(L,) index of each joint's first coordinate."""
        sizes = np.array([7, 4, 1, 1])[self.joint]
        return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)

    @property
    def v_start(self) -> np.ndarray:
        """(L,) index of each joint's first degree of freedom."""
        return np.concatenate([[0], np.cumsum(self.v_count)[:-1]]).astype(np.int32)

    @property
    def v_count(self) -> np.ndarray:
        """(L,) degrees of freedom of each joint."""
        return np.array([6, 3, 1, 1])[self.joint]
