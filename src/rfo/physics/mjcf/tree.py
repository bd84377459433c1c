"""The tree of links of a compiled MJCF model, and the frames of its bodies in them."""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

from rfo.physics.mjcf.support import name_of
from rfo.physics.model import Joint, Site


class Frame(NamedTuple):
    """A pose fixed in a link (-1: in the world)."""

    link: int
    pos: np.ndarray
    quat: np.ndarray

    def then(self, pos: np.ndarray, quat: np.ndarray) -> Frame:
        """A pose given in this one."""
        return Frame(self.link, self.pos + rotation(self.quat) @ pos, product(self.quat, quat))


class Link(NamedTuple):
    """A link and how it hangs on its parent."""

    parent: int
    pos: np.ndarray
    quat: np.ndarray
    name: str


IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])


def links_of(m: mujoco.MjModel) -> tuple[list[Link], list[Frame]]:
    """One link per joint, and the frame of every MuJoCo body in the link that carries it."""
    links: list[Link] = []
    frames = [Frame(-1, np.zeros(3), IDENTITY)]
    for body in range(1, m.nbody):
        frame = frames[m.body_parentid[body]].then(m.body_pos[body], m.body_quat[body])
        first, count = m.body_jntadr[body], m.body_jntnum[body]
        for joint in range(first, first + count):
            name = name_of(m, "body", body)
            if joint < first + count - 1:
                name += ":" + name_of(m, "joint", joint)
            links.append(Link(frame.link, *_reference_pose(m, joint, frame), name))
            # MuJoCo turns each joint of a body about its anchor and keeps the body's axes
            frame = Frame(len(links) - 1, -m.jnt_pos[joint], IDENTITY)
        frames.append(frame)
    return links, frames


def _reference_pose(m: mujoco.MjModel, joint: int, body: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Pose at coordinate 0 of a joint on a body whose pose without that joint is `body`."""
    kind, axis, reference = m.jnt_type[joint], m.jnt_axis[joint], m.qpos0[m.jnt_qposadr[joint]]
    if kind == Joint.FREE:  # its coordinates are the pose in the world
        return np.zeros(3), IDENTITY
    anchor = body.then(m.jnt_pos[joint], IDENTITY)
    if kind == Joint.SLIDE:
        anchor = anchor.then(-reference * axis, IDENTITY)
    if kind == Joint.HINGE:
        half = -reference / 2
        anchor = anchor.then(np.zeros(3), np.append(np.cos(half), np.sin(half) * axis))
    return anchor.pos, anchor.quat


def inertias(
    m: mujoco.MjModel, frames: list[Frame], links: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mass (L,), centre of mass (L, 3), inertia about it (L, 3, 3), composed of the bodies of each
    link."""
    mass, moment, second = np.zeros(links), np.zeros((links, 3)), np.zeros((links, 3, 3))
    for body, frame in enumerate(frames):
        if frame.link < 0:
            continue
        principal = frame.then(m.body_ipos[body], m.body_iquat[body])
        turn = rotation(principal.quat)
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


def sites_of(m: mujoco.MjModel, frames: list[Frame]) -> dict[str, Site]:
    """The sites in the links that carry them, by name."""
    found = {}
    for site in range(m.nsite):
        frame = frames[m.site_bodyid[site]].then(m.site_pos[site], IDENTITY)
        found[name_of(m, "site", site)] = Site(frame.link, tuple(frame.pos.tolist()))
    return found


def rows(values: list, width: int) -> np.ndarray:
    """An array (n, width), where n may be 0."""
    return np.array(values, float).reshape(-1, width)


def rotation(quat: np.ndarray) -> np.ndarray:
    """Matrix (3, 3) of a quaternion."""
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The rotation `b`, then `a`."""
    quat = np.empty(4)
    mujoco.mju_mulQuat(quat, a, b)
    return quat
