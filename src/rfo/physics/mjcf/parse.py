"""Import of articulated models from MJCF, by way of the mujoco package's compiler.

Every MuJoCo joint becomes a link (see `rfo.physics.model`): a body with several joints is a chain of
links of which all but the last are massless, a body without joints is merged into the link that
carries it. What `Model` cannot express is refused by name.
"""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np

from rfo.physics.mjcf.support import SHAPES, name_of, refuse_unsupported
from rfo.physics.model import Joint, Model
from rfo.physics.pairs import Kind, Pairs, Shape, pairs


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
    contact: ContactParameters,
    limit_ke: float = 1e3,
    limit_kd: float = 1e1,
) -> Model:
    """Import an MJCF model.

    Tree, frames, masses, inertias, armature, damping, springs, limits, motors, geoms and gravity are
    those of the model that the mujoco package compiles; link i is its joint i, so coordinates have
    its order too. What belongs to MuJoCo's own constraint solver and integrator (solref, solimp, friction,
    margins, time step) has no meaning here: contact follows `contact`, or for a geom that carries
    ``user="ke kd kf mu kh"`` those (kh may be left out), and for two geoms the mean of theirs; limits
    follow `limit_ke`, `limit_kd`. Which geoms touch is MuJoCo's filter:
    contype and conaffinity, not a body and its parent, not what ``<exclude>`` names.

    Args:
        source: path of an MJCF file, or the MJCF text itself (recognised by its first ``<``).
        contact: constants of every geom, with the ground and with one another.
        limit_ke: stiffness beyond a joint limit [N/m or N m/rad].
        limit_kd: damping beyond a joint limit [N s/m or N m s/rad].

    Raises:
        FileNotFoundError: no file at `source`.
        ValueError: not valid MJCF, or an element that has no counterpart here, by name.
    """
    m = _compile(source)
    refuse_unsupported(m)
    links, frames = _links(m)
    ground = _ground(m)
    mass, com, inertia = _inertias(m, frames, len(links))
    hinged = np.isin(m.jnt_type, (Joint.SLIDE, Joint.HINGE))
    limited = (m.jnt_limited.astype(bool) & hinged)[m.dof_jntid]
    motor_joint = m.actuator_trnid[:, 0]
    spring = np.where(hinged, m.qpos_spring[m.jnt_qposadr], 0.0)
    return Model(
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
        limit_lower=np.where(limited, m.jnt_range[m.dof_jntid, 0], -np.inf),
        limit_upper=np.where(limited, m.jnt_range[m.dof_jntid, 1], np.inf),
        limit_ke=np.full(m.nv, limit_ke),
        limit_kd=np.full(m.nv, limit_kd),
        control_dof=m.jnt_dofadr[motor_joint].astype(np.int32),
        control_gear=m.actuator_gear[:, 0] * m.actuator_gainprm[:, 0],
        **_contact_spheres(m, frames, ground, contact),
        gravity=m.opt.gravity.copy(),
        **_ground_plane(m, frames, ground),
        pairs=_pairs(m, frames, contact),
        link_names=tuple(link.name for link in links),
        dof_names=_dof_names(m),
        geoms=_drawn_geoms(m, frames),
    )


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
    if isinstance(source, str) and source.lstrip().startswith("<"):
        return mujoco.MjModel.from_xml_string(source)
    if not Path(source).is_file():
        raise FileNotFoundError(f"no MJCF file at {source}")
    return mujoco.MjModel.from_xml_path(str(source))


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
    """Mass (L,), centre of mass (L, 3), inertia about it (L, 3, 3), composed of the bodies of each link."""
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
    return mass, com, second - mass[:, None, None] * np.array([_steiner(c) for c in com]).reshape(-1, 3, 3)


def _steiner(offset: np.ndarray) -> np.ndarray:
    """Inertia of a unit point mass at `offset` about the origin."""
    return offset @ offset * np.eye(3) - np.outer(offset, offset)


def _meets(m: mujoco.MjModel, a: int, b: int) -> bool:
    """MuJoCo's filter on contype and conaffinity."""
    return bool(m.geom_contype[a] & m.geom_conaffinity[b] or m.geom_contype[b] & m.geom_conaffinity[a])


def _collides(m: mujoco.MjModel, a: int, b: int) -> bool:
    """MuJoCo's filter: contype and conaffinity, not within a body, not with its parent, not excluded."""
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
        raise ValueError(f"geom '{name_of(m, 'geom', planes[1])}': only one plane may collide, the ground")
    return planes[0] if planes else None


def _pairs(m: mujoco.MjModel, frames: list[_Frame], default: ContactParameters) -> Pairs:
    """The pairs of geoms on different links that MuJoCo would let collide."""

    def shape(geom: int) -> Shape:
        kind, sizes = SHAPES[mujoco.mjtGeom(m.geom_type[geom])]
        pose = frames[m.geom_bodyid[geom]].then(m.geom_pos[geom], m.geom_quat[geom])
        turn = _rotation(pose.quat)
        size = m.geom_size[geom, :sizes]
        return Shape(Kind(kind), size, pose.link, pose.pos, turn, pose.quat, _law(m, geom, default))

    geoms = [g for g in range(m.ngeom) if m.geom_type[g] != mujoco.mjtGeom.mjGEOM_PLANE]
    touching = [(a, b) for i, b in enumerate(geoms) for a in geoms[:i] if _collides(m, a, b)]
    return pairs((shape(a), shape(b)) for a, b in touching)


def _law(m: mujoco.MjModel, geom: int, default: ContactParameters) -> tuple[float, ...]:
    """Contact constants of a geom: its own or the default."""
    if m.nuser_geom and m.geom_user[geom].any():
        return (*m.geom_user[geom], 0.0)[:5]
    return astuple(default)


def _ground_plane(m: mujoco.MjModel, frames: list[_Frame], ground: int | None) -> dict[str, Any]:
    if ground is None:
        return {"ground_normal": np.array([0.0, 0.0, 1.0]), "ground_height": 0.0}
    pose = frames[m.geom_bodyid[ground]].then(m.geom_pos[ground], m.geom_quat[ground])
    normal = _rotation(pose.quat)[:, 2]
    return {"ground_normal": normal, "ground_height": float(normal @ pose.pos)}


def _contact_spheres(
    m: mujoco.MjModel, frames: list[_Frame], ground: int | None, default: ContactParameters
) -> dict[str, np.ndarray]:
    """The `contact_*` arrays of a model."""
    link, pos, radius, law = [], [], [], []
    for geom in range(m.ngeom):
        frame = frames[m.geom_bodyid[geom]]
        if ground is None or frame.link < 0 or not _meets(m, geom, ground):
            continue
        pose = frame.then(m.geom_pos[geom], m.geom_quat[geom])
        centres, r = _spheres(int(m.geom_type[geom]), m.geom_size[geom])
        for centre in centres:
            link.append(frame.link)
            pos.append(pose.then(centre, _IDENTITY).pos)
            radius.append(r)
            law.append(_law(m, geom, default))
    constants = _rows(law, 5).T
    return {
        "contact_link": np.array(link, np.int32),
        "contact_pos": _rows(pos, 3),
        "contact_radius": np.array(radius, float),
        **{f"contact_{field.name}": row for field, row in zip(fields(default), constants, strict=True)},
    }


def _spheres(kind: int, size: np.ndarray) -> tuple[np.ndarray, float]:
    """Centres (n, 3) in the geom's frame and radius of the spheres that stand for a geom."""
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return np.zeros((1, 3)), float(size[0])
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return np.array([[0.0, 0.0, -size[1]], [0.0, 0.0, size[1]]]), float(size[0])
    return size * np.array(list(product((-1.0, 1.0), repeat=3))), 0.0


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
    suffixes = {Joint.FREE: (":x", ":y", ":z", ":wx", ":wy", ":wz"), Joint.BALL: (":wx", ":wy", ":wz")}
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
