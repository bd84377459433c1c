"""Import of articulated models from MJCF, by way of the mujoco package's compiler.

Every MuJoCo joint becomes a link (see `rfo.physics.model`): a body with several joints is a chain
of links of which all but the last are massless, a body without joints is merged into the link that
carries it. What `Model` cannot express is refused by name.
"""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np

from rfo.errors import SettingError
from rfo.physics.mjcf.constants import Mobility, contact_law, limit_constants, mobility, surface
from rfo.physics.mjcf.support import SHAPES, name_of, refuse_unsupported, user_is_contact
from rfo.physics.model import Joint, Model
from rfo.physics.pairs import Kind, Pairs, Shape, pairs
from rfo.physics.reference import Reference, reference, stable_step


@dataclass(frozen=True)
class ContactParameters:
    """Constants of the penalty contact law, per contact sphere (units as in `Model.contact_*`)."""

    ke: float
    kd: float
    kf: float
    mu: float
    kh: float = 0.0


def load(
    source: str | Path,
    contact: ContactParameters | None = None,
    limit_ke: float | None = None,
    limit_kd: float | None = None,
    *,
    substep: float | None = None,
) -> Model:
    """Import an MJCF model.

    Tree, frames, masses, inertias, armature, damping, springs, limits, motors, geoms and gravity
    are those of the model that the mujoco package compiles; link i is its joint i, so coordinates
    have its order too. Which geoms touch is MuJoCo's filter: contype and conaffinity, not a body
    and its parent, not what ``<exclude>`` names.

    Constants of contacts and limits follow from the masses that they hold and from the file's
    solref, solimp, friction, condim, priority, solmix and margin, see `rfo.physics.mjcf.constants`.
    `contact`, `limit_ke` and `limit_kd` stand in for them where they are given. A geom that carries
    ``user="ke kd kf mu kh"`` (kh may be left out) has those constants in a file that says so by
    ``<custom><numeric name="rfo_contact" data="1"/></custom>``; two geoms then have the mean of
    theirs. What else belongs to MuJoCo's constraint solver and integrator has no meaning here.

    Args:
        source: path of an MJCF file, or the MJCF text itself (recognised by its first ``<``).
        contact: constants of every geom, with the ground and with one another; None: from the file.
        limit_ke: stiffness beyond a joint limit [N/m or N m/rad]; None: from the file.
        limit_kd: damping beyond a joint limit [N s/m or N m s/rad]; None: from the file.
        substep: time step of the integration [s]. Constants from the file are softened, all by one
            factor, to be stable at it.

    Raises:
        FileNotFoundError: no file at `source`.
        SettingError: not valid MJCF, or an element that has no counterpart here, by name.
    """
    m = _compile(source)
    refuse_unsupported(m)
    links, frames = _links(m)
    ground = _ground(m)
    margins = m.geom_margin if contact is None else np.zeros(m.ngeom)
    touching = _touching(m, frames, ground, margins)
    mass, com, inertia = _inertias(m, frames, len(links))
    motor_joint = m.actuator_trnid[:, 0]
    hinged = np.isin(m.jnt_type, (Joint.SLIDE, Joint.HINGE))
    spring = np.where(hinged, m.qpos_spring[m.jnt_qposadr], 0.0)
    limited = (m.jnt_limited.astype(bool) & hinged)[m.dof_jntid]
    lower, upper = (m.jnt_range[:, i] + s * m.jnt_margin for i, s in ((0, 1), (1, -1)))
    bare = Model(
        parent=np.array([link.parent for link in links], np.int32),
        joint=m.jnt_type.astype(np.int32),
        pos=_rows([link.pos for link in links], 3),
        quat=_rows([link.quat for link in links], 4),
        axis=m.jnt_axis.copy(),
        mass=mass,
        com=com,
        inertia=inertia,
        q0=m.qpos0.copy(),
        armature=m.dof_armature.copy(),
        damping=m.dof_damping.copy(),
        stiffness=m.jnt_stiffness[m.dof_jntid],
        spring_reference=spring[m.dof_jntid],
        limit_lower=np.where(limited, lower[m.dof_jntid], -np.inf),
        limit_upper=np.where(limited, upper[m.dof_jntid], np.inf),
        limit_ke=np.zeros(m.nv),
        limit_kd=np.zeros(m.nv),
        control_dof=m.jnt_dofadr[motor_joint].astype(np.int32),
        control_gear=m.actuator_gear[:, 0] * m.actuator_gainprm[:, 0],
        **_contact_spheres(touching),
        gravity=m.opt.gravity.copy(),
        **_ground_plane(m, frames, ground),
        link_names=tuple(link.name for link in links),
        dof_names=_dof_names(m),
        geoms=_drawn_geoms(m, frames),
        keyframe=m.key_qpos[0].copy() if m.nkey else None,
    )
    laws = _Laws(m, frames, reference(bare), contact)

    def constants(soft: float) -> Model:
        """With those from the file times `soft`, stiffnesses times its square."""
        limits = limit_constants(m, laws.at.mass_matrix, laws.gravity, soft)
        law = _rows([laws.with_ground(sphere.geom, ground or 0, soft) for sphere in touching], 5).T
        names = [f"contact_{field.name}" for field in fields(ContactParameters)]
        return replace(
            bare,
            limit_ke=limits[0] if limit_ke is None else np.full(m.nv, limit_ke),
            limit_kd=limits[1] if limit_kd is None else np.full(m.nv, limit_kd),
            **dict(zip(names, law, strict=True)),
            pairs=_pairs(m, frames, margins, lambda a, b: laws.between(a, b, soft)),
        )

    model = constants(1.0)
    longest = np.inf if substep is None else stable_step(model)
    return model if substep is None or substep <= longest else constants(longest / substep)


class _Frame(NamedTuple):
    """A pose fixed in a link (-1: in the world)."""

    link: int
    pos: np.ndarray
    quat: np.ndarray

    def then(self, pos: np.ndarray, quat: np.ndarray) -> _Frame:
        return _Frame(self.link, self.pos + _rotation(self.quat) @ pos, _product(self.quat, quat))


class _Link(NamedTuple):
    parent: int
    pos: np.ndarray
    quat: np.ndarray
    name: str


_IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])


def _compile(source: str | Path) -> mujoco.MjModel:
    try:
        if isinstance(source, str) and source.lstrip().startswith("<"):
            return mujoco.MjModel.from_xml_string(source)
        if not Path(source).is_file():
            raise FileNotFoundError(f"no MJCF file at {source}")
        return mujoco.MjModel.from_xml_path(str(source))
    except ValueError as error:
        raise SettingError(f"not valid MJCF: {' '.join(str(error).split())}") from None


def _links(m: mujoco.MjModel) -> tuple[list[_Link], list[_Frame]]:
    """One link per joint, and the frame of every MuJoCo body in the link that carries it."""
    links: list[_Link] = []
    frames = [_Frame(-1, np.zeros(3), _IDENTITY)]
    for body in range(1, m.nbody):
        frame = frames[m.body_parentid[body]].then(m.body_pos[body], m.body_quat[body])
        first, count = m.body_jntadr[body], m.body_jntnum[body]
        for joint in range(first, first + count):
            name = name_of(m, "body", body)
            if joint < first + count - 1:
                name += ":" + name_of(m, "joint", joint)
            links.append(_Link(frame.link, *_reference_pose(m, joint, frame), name))
            # MuJoCo turns each joint of a body about its anchor and keeps the body's axes
            frame = _Frame(len(links) - 1, -m.jnt_pos[joint], _IDENTITY)
        frames.append(frame)
    return links, frames


def _reference_pose(m: mujoco.MjModel, joint: int, body: _Frame) -> tuple[np.ndarray, np.ndarray]:
    """Pose at coordinate 0 of a joint on a body whose pose without that joint is `body`."""
    kind, axis, reference = m.jnt_type[joint], m.jnt_axis[joint], m.qpos0[m.jnt_qposadr[joint]]
    if kind == Joint.FREE:  # its coordinates are the pose in the world
        return np.zeros(3), _IDENTITY
    anchor = body.then(m.jnt_pos[joint], _IDENTITY)
    if kind == Joint.SLIDE:
        anchor = anchor.then(-reference * axis, _IDENTITY)
    if kind == Joint.HINGE:
        half = -reference / 2
        anchor = anchor.then(np.zeros(3), np.append(np.cos(half), np.sin(half) * axis))
    return anchor.pos, anchor.quat


def _inertias(
    m: mujoco.MjModel, frames: list[_Frame], links: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mass (L,), centre of mass (L, 3), inertia about it (L, 3, 3), composed of the bodies of each
    link."""
    mass, moment, second = np.zeros(links), np.zeros((links, 3)), np.zeros((links, 3, 3))
    for body, frame in enumerate(frames):
        if frame.link < 0:
            continue
        principal = frame.then(m.body_ipos[body], m.body_iquat[body])
        turn = _rotation(principal.quat)
        mass[frame.link] += m.body_mass[body]
        moment[frame.link] += m.body_mass[body] * principal.pos
        second[frame.link] += turn @ np.diag(m.body_inertia[body]) @ turn.T
        second[frame.link] += m.body_mass[body] * _steiner(principal.pos)
    com = moment / np.where(mass > 0, mass, 1.0)[:, None]
    return (
        mass,
        com,
        second - mass[:, None, None] * np.array([_steiner(c) for c in com]).reshape(-1, 3, 3),
    )


def _steiner(offset: np.ndarray) -> np.ndarray:
    """Inertia of a unit point mass at `offset` about the origin."""
    return offset @ offset * np.eye(3) - np.outer(offset, offset)


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


def _ground(m: mujoco.MjModel) -> int | None:
    """The geom that is the ground."""
    solid = [g for g in range(m.ngeom) if m.geom_contype[g] or m.geom_conaffinity[g]]
    planes = [g for g in solid if m.geom_type[g] == mujoco.mjtGeom.mjGEOM_PLANE]
    if len(planes) > 1:  # MuJoCo has made sure that planes are fixed in the world
        raise SettingError(
            f"geom '{name_of(m, 'geom', planes[1])}': only one plane may collide, the ground"
        )
    return planes[0] if planes else None


class _Laws:
    """Constants of the contact of geoms."""

    def __init__(
        self,
        m: mujoco.MjModel,
        frames: list[_Frame],
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


def _pairs(
    m: mujoco.MjModel,
    frames: list[_Frame],
    margins: np.ndarray,
    law: Callable[[int, int], tuple[float, ...]],
) -> Pairs:
    """The pairs of geoms on different links that MuJoCo would let collide."""

    def shape(geom: int) -> Shape:
        kind, sizes = SHAPES[mujoco.mjtGeom(m.geom_type[geom])]
        pose = frames[m.geom_bodyid[geom]].then(m.geom_pos[geom], m.geom_quat[geom])
        turn = _rotation(pose.quat)
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


def _ground_plane(m: mujoco.MjModel, frames: list[_Frame], ground: int | None) -> dict[str, Any]:
    if ground is None:
        return {"ground_normal": np.array([0.0, 0.0, 1.0]), "ground_height": 0.0}
    pose = frames[m.geom_bodyid[ground]].then(m.geom_pos[ground], m.geom_quat[ground])
    normal = _rotation(pose.quat)[:, 2]
    return {"ground_normal": normal, "ground_height": float(normal @ pose.pos)}


class _Sphere(NamedTuple):
    """One of the spheres that stand for a geom on the ground."""

    geom: int
    link: int
    centre: np.ndarray
    """In the link's frame [m]."""
    radius: float


def _touching(
    m: mujoco.MjModel, frames: list[_Frame], ground: int | None, margins: np.ndarray
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


def _contact_spheres(spheres: list[_Sphere]) -> dict[str, np.ndarray]:
    """The `contact_*` arrays of a model, without constants."""
    return {
        "contact_link": np.array([sphere.link for sphere in spheres], np.int32),
        "contact_pos": _rows([sphere.centre for sphere in spheres], 3),
        "contact_radius": np.array([sphere.radius for sphere in spheres], float),
        **{f"contact_{field.name}": np.zeros(len(spheres)) for field in fields(ContactParameters)},
    }


def _spheres(m: mujoco.MjModel, frames: list[_Frame], geom: int) -> list[_Sphere]:
    """A sphere is one, a capsule its two ends, a box its eight corners."""
    pose = frames[m.geom_bodyid[geom]].then(m.geom_pos[geom], m.geom_quat[geom])
    kind, size = m.geom_type[geom], m.geom_size[geom]
    centres, radius = size * np.array(list(product((-1.0, 1.0), repeat=3))), 0.0
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        centres, radius = np.zeros((1, 3)), float(size[0])
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        centres, radius = np.array([[0, 0, -size[1]], [0, 0, size[1]]]), float(size[0])
    places = [pose.then(centre, _IDENTITY).pos for centre in centres]
    return [_Sphere(geom, pose.link, place, radius) for place in places]


def _drawn_geoms(m: mujoco.MjModel, frames: list[_Frame]) -> tuple[dict, ...]:
    geoms = []
    for geom in range(m.ngeom):
        frame = frames[m.geom_bodyid[geom]]
        pose = frame.then(m.geom_pos[geom], m.geom_quat[geom])
        kind, sizes = SHAPES[mujoco.mjtGeom(m.geom_type[geom])]
        geoms.append(
            {
                "type": kind,
                "size": m.geom_size[geom, :sizes].tolist(),
                "body": frame.link,
                "pos": pose.pos.tolist(),
                "quat": pose.quat.tolist(),
                "rgba": m.geom_rgba[geom].tolist(),
            }
        )
    return tuple(geoms)


def _dof_names(m: mujoco.MjModel) -> tuple[str, ...]:
    suffixes = {
        Joint.FREE: (":x", ":y", ":z", ":wx", ":wy", ":wz"),
        Joint.BALL: (":wx", ":wy", ":wz"),
    }
    return tuple(
        name_of(m, "joint", joint) + suffix
        for joint in range(m.njnt)
        for suffix in suffixes.get(Joint(m.jnt_type[joint]), ("",))
    )


def _rows(rows: list, width: int) -> np.ndarray:
    return np.array(rows, float).reshape(-1, width)


def _rotation(quat: np.ndarray) -> np.ndarray:
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    quat = np.empty(4)
    mujoco.mju_mulQuat(quat, a, b)
    return quat
