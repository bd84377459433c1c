"""Contacts of a compiled MJCF model: which geoms touch which, and by which law."""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from typing import Any, NamedTuple

import mujoco
import numpy as np

from rfo.errors import SettingError
from rfo.physics.mjcf.constants import (
    Mobility,
    Surface,
    contact_law,
    mobility,
    surface,
    surface_of_pair,
)
from rfo.physics.mjcf.flags import disabled
from rfo.physics.mjcf.shapes import GEOM, STAND_INS, heights_of, points_of, with_stand_ins
from rfo.physics.mjcf.support import SHAPES, name_of, user_is_contact
from rfo.physics.mjcf.tree import Frame, rotation, rows
from rfo.physics.pairs import Kind, Pairs, Shape, pairs
from rfo.physics.reference import Reference
from rfo.physics.supports import Supports

Law = Callable[["Contact"], tuple[float, ...]]


@dataclass(frozen=True)
class ContactParameters:
    """Constants of the penalty contact law, per contact sphere (units as in `Model.contact_*`)."""

    ke: float
    kd: float
    kf: float
    mu: float
    kh: float = 0.0


class Contact(NamedTuple):
    """Two geoms that may touch."""

    a: int
    b: int
    """The plane, if there is one."""
    pair: int
    """Number of the file's ``<pair>`` that names them; -1: none does."""


def contacts_of(m: mujoco.MjModel) -> list[Contact]:
    """All that may touch: what a ``<pair>`` names, and what MuJoCo's filters let through."""
    if disabled(m, "CONTACT") or disabled(m, "CONSTRAINT"):
        return []
    named = {
        (int(min(a, b)), int(max(a, b))): k
        for k, (a, b) in enumerate(zip(m.pair_geom1, m.pair_geom2, strict=True))
    }
    solid = np.flatnonzero(m.geom_contype | m.geom_conaffinity).tolist()
    met = [(a, b) for i, b in enumerate(solid) for a in solid[:i] if _collides(m, a, b)]
    both = sorted(named.keys() | met, key=lambda pair: (pair[1], pair[0]))
    planes = flat(m)
    return [
        Contact(*((b, a) if planes[a] else (a, b)), named.get((a, b), -1))
        for a, b in both
        if not (planes[a] and planes[b])
    ]


def _collides(m: mujoco.MjModel, a: int, b: int) -> bool:
    """MuJoCo's filter: contype and conaffinity, not within a body, not with its parent, not
    excluded."""
    if not (m.geom_contype[a] & m.geom_conaffinity[b] or m.geom_contype[b] & m.geom_conaffinity[a]):
        return False
    body_a, body_b = m.geom_bodyid[[a, b]]
    weld_a, weld_b = m.body_weldid[[body_a, body_b]]
    above_a, above_b = m.body_weldid[m.body_parentid[[weld_a, weld_b]]]
    adjacent = weld_a == above_b != 0 or weld_b == above_a != 0
    excluded = m.exclude_signature == (min(body_a, body_b) << 16) + max(body_a, body_b)
    return bool(weld_a != weld_b) and not adjacent and not excluded.any()


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

    def on_plane(self, contact: Contact, soft: float) -> tuple[float, ...]:
        """k_e, k_d, k_f, mu, k_h of a geom on a plane."""
        own = self._own(contact.a)
        if own is not None:
            return own
        mobility = self._mobility(contact.a)
        return contact_law(self._surface(contact), mobility, self.gravity, soft)

    def between(self, contact: Contact, soft: float) -> tuple[float, ...]:
        """The constants of two geoms: the mean of their own, or from the file."""
        own = [law for law in map(self._own, contact[:2]) if law is not None]
        if own:
            return tuple(np.mean(own, axis=0))
        mobility = self._mobility(contact.a).with_other(self._mobility(contact.b))
        return contact_law(self._surface(contact), mobility, self.gravity, soft)

    def _surface(self, contact: Contact) -> Surface:
        if contact.pair >= 0:
            return surface_of_pair(self.m, contact.pair)
        return surface(self.m, contact.a, contact.b)

    def _own(self, geom: int) -> tuple[float, ...] | None:
        """A geom's own constants, or those of every geom."""
        if user_is_contact(self.m) and self.m.geom_user[geom].any():
            return (*self.m.geom_user[geom], 0.0)[:5]
        return self._default

    def _mobility(self, geom: int) -> Mobility:
        if geom not in self._mobilities:
            points = points_of(self.m, self._frames, geom)
            centres, radius = np.array([point.centre for point in points]), points[0].radius
            self._mobilities[geom] = mobility(self.at, points[0].link, centres, radius)
        return self._mobilities[geom]


class Touching:
    """All contacts of a model.

    Args:
        m: the compiled model.
        frames: of its bodies.
        margins: whether margins count.
    """

    def __init__(self, m: mujoco.MjModel, frames: list[Frame], margins: bool):
        self._m = m
        self._frames = frames
        self._margins = margins
        contacts = contacts_of(m)
        planes = flat(m)
        on_planes = [contact for contact in contacts if planes[contact.b]]
        self.ground = min((contact.b for contact in on_planes), default=None)
        """The geom that is the ground: the first plane that something may touch."""
        points = [
            (contact, point)
            for contact in on_planes
            for point in points_of(m, frames, contact.a)
            if point.link >= 0
        ]
        self._spheres = [(c, p) for c, p in points if c.b == self.ground and p.round]
        self._supports = [(c, p) for c, p in points if not (c.b == self.ground and p.round)]
        self._pairs, self._fitted, left_out = _bodies(
            m, [contact for contact in contacts if not planes[contact.b]]
        )
        self.notes = _notes(m, contacts, left_out)

    def spheres(self) -> dict[str, np.ndarray]:
        """The `contact_*` arrays of a model, without constants."""
        points = [point for _, point in self._spheres]
        margins = np.array([self._margin(contact) for contact, _ in self._spheres])
        radius = np.array([point.radius for point in points], float)
        constants = {f"contact_{field.name}" for field in fields(ContactParameters)}
        return {
            "contact_link": np.array([point.link for point in points], np.int32),
            "contact_pos": rows([point.centre for point in points], 3),
            "contact_radius": radius + margins if points else radius,
            **{name: np.zeros(len(points)) for name in constants},
        }

    def sphere_laws(self, law: Law) -> dict[str, np.ndarray]:
        """The constants among the `contact_*` arrays."""
        values = rows(_each([contact for contact, _ in self._spheres], law), 5).T
        names = [f"contact_{field.name}" for field in fields(ContactParameters)]
        return dict(zip(names, values, strict=True))

    def supports(self, law: Law) -> Supports:
        """Contacts with planes that are not those of spheres with the ground."""
        contacts = [contact for contact, _ in self._supports]
        points = [point for _, point in self._supports]
        planes = [plane_of(self._m, self._frames, contact.b) for contact in contacts]
        margins = np.array([self._margin(contact) for contact in contacts], float)
        return Supports(
            link=np.array([point.link for point in points], np.int32),
            pos=rows([point.centre for point in points], 3),
            quat=rows([point.quat for point in points], 4),
            axes=rows([point.axes for point in points], 3),
            normal=rows([normal for normal, _ in planes], 3),
            height=np.array([height for _, height in planes], float) + margins,
            law=rows(_each(contacts, law), 5),
        )

    def pairs(self, law: Law) -> Pairs:
        """Contact of bodies with one another."""
        laws = _each(self._pairs, law)
        return pairs(
            (
                self._shape(contact.a, self._margin(contact)),
                self._shape(contact.b, 0.0),
                constants,
            )
            for contact, constants in zip(self._pairs, laws, strict=True)
        )

    def _shape(self, geom: int, margin: float) -> Shape:
        m = self._fitted
        kind, sizes = SHAPES[GEOM(m.geom_type[geom])]
        pose = self._frames[m.geom_bodyid[geom]].then(m.geom_pos[geom], m.geom_quat[geom])
        size = m.geom_size[geom, :sizes].copy()
        if kind == "box":  # its faces move out
            size, margin = size + margin, 0.0
        return Shape(Kind(kind), size, pose.link, pose.pos, rotation(pose.quat), pose.quat, margin)

    def _margin(self, contact: Contact) -> float:
        """Distance at which two geoms touch [m]."""
        m = self._m
        if not self._margins:
            return 0.0
        if contact.pair >= 0:
            return float(m.pair_margin[contact.pair])
        return float(m.geom_margin[contact.a] + m.geom_margin[contact.b])


def _each(contacts: list[Contact], law: Law) -> list[tuple[float, ...]]:
    """The law of each contact, made once for the points of one geom."""
    made = {contact: law(contact) for contact in dict.fromkeys(contacts)}
    return [made[contact] for contact in contacts]


def flat(m: mujoco.MjModel) -> np.ndarray:
    """(ngeom,) whether a geom is a plane, as height fields without hills are."""
    level = np.array([np.ptp(heights_of(m, field)) == 0 for field in range(m.nhfield)], bool)
    fields = m.geom_type == GEOM.mjGEOM_HFIELD
    planes = m.geom_type == GEOM.mjGEOM_PLANE
    planes[fields] = level[m.geom_dataid[fields]]
    return planes


def plane_of(m: mujoco.MjModel, frames: list[Frame], plane: int) -> tuple[np.ndarray, float]:
    """Unit normal of a plane and its height along it [m]."""
    pose = frames[m.geom_bodyid[plane]].then(m.geom_pos[plane], m.geom_quat[plane])
    normal, height = rotation(pose.quat)[:, 2], 0.0
    if m.geom_type[plane] == GEOM.mjGEOM_HFIELD:
        field = m.geom_dataid[plane]
        height = float(m.hfield_size[field, 2] * heights_of(m, field)[0, 0])
    return normal, float(normal @ pose.pos) + height


def ground_plane(m: mujoco.MjModel, frames: list[Frame], ground: int | None) -> dict[str, Any]:
    """Normal and height of the ground in a model; the plane z = 0 where there is none."""
    up = np.array([0.0, 0.0, 1.0])
    normal, height = (up, 0.0) if ground is None else plane_of(m, frames, ground)
    return {"ground_normal": normal, "ground_height": height}


def _bodies(
    m: mujoco.MjModel, contacts: list[Contact]
) -> tuple[list[Contact], mujoco.MjModel, int]:
    """Contacts of bodies with one another, the model in which primitives stand in for other geoms,
    and the number of contacts that are left out because only the stand-ins overlap."""
    fitted = with_stand_ins(m, {geom for contact in contacts for geom in contact[:2]})
    stands_in = fitted.geom_type != m.geom_type
    kept = [c for c in contacts if not (stands_in[[c.a, c.b]].any() and _only_fitted(m, fitted, c))]
    return kept, fitted, len(contacts) - len(kept)


OVERLAP = 1e-3
"""By how much more than the geoms themselves their stand-ins may overlap at the start [m]."""


def _only_fitted(m: mujoco.MjModel, fitted: mujoco.MjModel, contact: Contact) -> bool:
    """Whether stand-ins overlap at the start where the geoms themselves do not."""
    data = mujoco.MjData(m)
    data.qpos[:] = m.key_qpos[0] if m.nkey else m.qpos0
    mujoco.mj_kinematics(m, data)
    theirs = mujoco.mj_geomDistance(m, data, contact.a, contact.b, 1.0, None)
    mujoco.mj_kinematics(fitted, data)
    ours = mujoco.mj_geomDistance(fitted, data, contact.a, contact.b, 1.0, None)
    return ours < min(theirs, 0.0) - OVERLAP


def _notes(m: mujoco.MjModel, contacts: list[Contact], left_out: int) -> list[str]:
    """What is read differently than in MuJoCo."""
    geoms = sorted({geom for contact in contacts for geom in contact[:2]})
    kinds = {m.geom_type[geom] for geom in geoms}
    notes = [text for kind, text in STAND_INS.items() if kind in kinds]
    if left_out:
        notes.append(
            f"{left_out} pairs of geoms never touch, because the shapes that fit them overlap"
            " at the start"
        )
    spinning = [geom for geom in geoms if m.geom_condim[geom] > 3]
    if spinning or (m.pair_dim > 3).any():
        name = name_of(m, "geom", spinning[0]) if spinning else name_of(m, "pair", 0)
        notes.append(f"contacts slide only, without torsional and rolling friction ('{name}')")
    return notes


def refuse_contacts(m: mujoco.MjModel) -> None:
    """Refuse geoms that may touch and have no shape here, by name."""
    planes = flat(m)
    for contact in contacts_of(m):
        for geom in contact[:2]:
            kind = GEOM(m.geom_type[geom])
            if kind not in SHAPES and kind not in STAND_INS and not planes[geom]:
                what = kind.name.removeprefix("mjGEOM_").lower()
                raise SettingError(
                    f"geom '{name_of(m, 'geom', geom)}': a {what} cannot touch anything here: give"
                    ' it contype="0" and conaffinity="0"'
                )
