"""Contacts of a compiled MJCF model: which geoms touch the ground and one another, by which law."""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from itertools import product
from typing import Any, NamedTuple

import mujoco
import numpy as np

from rfo.errors import SettingError
from rfo.physics.mjcf.constants import Mobility, contact_law, mobility, surface
from rfo.physics.mjcf.support import SHAPES, name_of, user_is_contact
from rfo.physics.mjcf.tree import IDENTITY, Frame, rotation, rows
from rfo.physics.pairs import Kind, Pairs, Shape, pairs
from rfo.physics.reference import Reference


@dataclass(frozen=True)
class ContactParameters:
    """Constants of the penalty contact law, per contact sphere (units as in `Model.contact_*`)."""

    ke: float
    kd: float
    kf: float
    mu: float
    kh: float = 0.0


def _meets(m: mujoco.MjModel, a: int, b: int) -> bool:
    """MuJoCo's filter on contype and conaffinity."""
    return bool(
        m.geom_contype[a] & m.geom_conaffinity[b] or m.geom_contype[b] & m.geom_conaffinity[a]
    )


def _collides(m: mujoco.MjModel, a: int, b: int) -> bool:
    """MuJoCo's filter: contype and conaffinity, not within a body, not with its parent, not
    excluded."""
    body_a, body_b = m.geom_bodyid[[a, b]]
    weld_a, weld_b = m.body_weldid[[body_a, body_b]]
    above_a, above_b = m.body_weldid[m.body_parentid[[weld_a, weld_b]]]
    adjacent = weld_a == above_b != 0 or weld_b == above_a != 0
    excluded = m.exclude_signature == (min(body_a, body_b) << 16) + max(body_a, body_b)
    return _meets(m, a, b) and bool(weld_a != weld_b) and not adjacent and not excluded.any()


def ground_of(m: mujoco.MjModel) -> int | None:
    """The geom that is the ground."""
    solid = [g for g in range(m.ngeom) if m.geom_contype[g] or m.geom_conaffinity[g]]
    planes = [g for g in solid if m.geom_type[g] == mujoco.mjtGeom.mjGEOM_PLANE]
    if len(planes) > 1:  # MuJoCo has made sure that planes are fixed in the world
        raise SettingError(
            f"geom '{name_of(m, 'geom', planes[1])}': only one plane may collide, the ground"
        )
    return planes[0] if planes else None


class Laws:
    """Constants of the contact of geoms."""

    def __init__(
        self,
        m: mujoco.MjModel,
        frames: list[Frame],
        at: Reference,
        default: ContactParameters | None,
    ):
        self.m = m
        self.at = at
        self.gravity = float(np.linalg.norm(m.opt.gravity)) or 9.81
        self._frames = frames
        self._default = None if default is None else astuple(default)
        self._mobilities: dict[int, Mobility] = {}

    def with_ground(self, geom: int, ground: int, soft: float) -> tuple[float, ...]:
        """k_e, k_d, k_f, mu, k_h of a geom on the ground."""
        own = self._own(geom)
        if own is not None:
            return own
        return contact_law(surface(self.m, geom, ground), self._mobility(geom), self.gravity, soft)

    def between(self, a: int, b: int, soft: float) -> tuple[float, ...]:
        """Those of two geoms: the mean of their own, or from the file."""
        own = [law for law in (self._own(a), self._own(b)) if law is not None]
        if own:
            return tuple(np.mean(own, axis=0))
        mobility = self._mobility(a).with_other(self._mobility(b))
        return contact_law(surface(self.m, a, b), mobility, self.gravity, soft)

    def _own(self, geom: int) -> tuple[float, ...] | None:
        """A geom's own constants, or those of every geom."""
        if user_is_contact(self.m) and self.m.geom_user[geom].any():
            return (*self.m.geom_user[geom], 0.0)[:5]
        return self._default

    def _mobility(self, geom: int) -> Mobility:
        if geom not in self._mobilities:
            spheres = _spheres(self.m, self._frames, geom)
            points = np.array([sphere.centre for sphere in spheres])
            self._mobilities[geom] = mobility(self.at, spheres[0].link, points, spheres[0].radius)
        return self._mobilities[geom]


def pairs_of(
    m: mujoco.MjModel,
    frames: list[Frame],
    margins: np.ndarray,
    law: Callable[[int, int], tuple[float, ...]],
) -> Pairs:
    """The pairs of geoms on different links that MuJoCo would let collide."""

    def shape(geom: int) -> Shape:
        kind, sizes = SHAPES[mujoco.mjtGeom(m.geom_type[geom])]
        pose = frames[m.geom_bodyid[geom]].then(m.geom_pos[geom], m.geom_quat[geom])
        turn = rotation(pose.quat)
        size, margin = m.geom_size[geom, :sizes], float(margins[geom])
        return Shape(Kind(kind), size, pose.link, pose.pos, turn, pose.quat, margin)

    geoms = [g for g in range(m.ngeom) if m.geom_type[g] != mujoco.mjtGeom.mjGEOM_PLANE]
    touching = [(a, b) for i, b in enumerate(geoms) for a in geoms[:i] if _collides(m, a, b)]
    for a, b in touching:
        boxes = np.all(m.geom_type[[a, b]] == mujoco.mjtGeom.mjGEOM_BOX)
        if boxes and margins[[a, b]].any():
            name = name_of(m, "geom", a if margins[a] else b)
            raise SettingError(f"geom '{name}': two boxes that may touch must have no margin")
    return pairs((shape(a), shape(b), law(a, b)) for a, b in touching)


def ground_plane(m: mujoco.MjModel, frames: list[Frame], ground: int | None) -> dict[str, Any]:
    """Normal and height of the ground in a model; the plane z = 0 where there is none."""
    if ground is None:
        return {"ground_normal": np.array([0.0, 0.0, 1.0]), "ground_height": 0.0}
    pose = frames[m.geom_bodyid[ground]].then(m.geom_pos[ground], m.geom_quat[ground])
    normal = rotation(pose.quat)[:, 2]
    return {"ground_normal": normal, "ground_height": float(normal @ pose.pos)}


class _Sphere(NamedTuple):
    """One of the spheres that stand for a geom on the ground."""

    geom: int
    link: int
    centre: np.ndarray
    """In the link's frame [m]."""
    radius: float


def touching_ground(
    m: mujoco.MjModel, frames: list[Frame], ground: int | None, margins: np.ndarray
) -> list[_Sphere]:
    """Spheres of the geoms that MuJoCo would let collide with the ground, margins included."""
    if ground is None:
        return []
    return [
        sphere._replace(radius=sphere.radius + margins[geom] + margins[ground])
        for geom in range(m.ngeom)
        if _collides(m, geom, ground)
        for sphere in _spheres(m, frames, geom)
    ]


def contact_spheres(spheres: list[_Sphere]) -> dict[str, np.ndarray]:
    """The `contact_*` arrays of a model, without constants."""
    return {
        "contact_link": np.array([sphere.link for sphere in spheres], np.int32),
        "contact_pos": rows([sphere.centre for sphere in spheres], 3),
        "contact_radius": np.array([sphere.radius for sphere in spheres], float),
        **{f"contact_{field.name}": np.zeros(len(spheres)) for field in fields(ContactParameters)},
    }


def _spheres(m: mujoco.MjModel, frames: list[Frame], geom: int) -> list[_Sphere]:
    """A sphere is one, a capsule its two ends, a box its eight corners."""
    pose = frames[m.geom_bodyid[geom]].then(m.geom_pos[geom], m.geom_quat[geom])
    kind, size = m.geom_type[geom], m.geom_size[geom]
    centres, radius = size * np.array(list(product((-1.0, 1.0), repeat=3))), 0.0
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        centres, radius = np.zeros((1, 3)), float(size[0])
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        centres, radius = np.array([[0, 0, -size[1]], [0, 0, size[1]]]), float(size[0])
    places = [pose.then(centre, IDENTITY).pos for centre in centres]
    return [_Sphere(geom, pose.link, place, radius) for place in places]
