"""Quaternions (w, x, y, z) and forward kinematics, batched and differentiable.

Poses come from kernels, ``native/kinematics*.h``: as JAX operations, a tree of links takes XLA long
to compile.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import jax.numpy as jnp
import numpy as np

from rfo.physics.articulated_values import values
from rfo.physics.bridge import Bridge
from rfo.physics.cords import HAIR, Cords
from rfo.physics.model import Joint, Model, Site
from rfo.physics.native import Native
from rfo.physics.packs import PackedKernels
from rfo.types import Array, Float

NATIVE = Native(
    "kinematics",
    inputs={"q": "nq"},
    outputs={"poses": "7 * links"},
    work="7 * links",
    tape=False,
)


def multiply(a: Float[Array, "*n 4"], b: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """Product of quaternions: the rotation `b`, then `a`."""
    aw, ax, ay, az = jnp.moveaxis(a, -1, 0)
    bw, bx, by, bz = jnp.moveaxis(b, -1, 0)
    w = aw * bw - ax * bx - ay * by - az * bz
    x = aw * bx + ax * bw + ay * bz - az * by
    y = aw * by + ay * bw + az * bx - ax * bz
    z = aw * bz + az * bw + ax * by - ay * bx
    return jnp.stack([w, x, y, z], axis=-1)


def rotate(quat: Float[Array, "*n 4"], vector: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """Vectors turned by unit quaternions."""
    w, i, j, k = jnp.moveaxis(quat, -1, 0)
    x, y, z = jnp.moveaxis(vector, -1, 0)
    # v + 2 u x (u x v + w v), spelt out: it compiles in half the time of jnp.cross
    a, b, c = j * z - k * y + w * x, k * x - i * z + w * y, i * y - j * x + w * z
    turned = x + 2 * (j * c - k * b), y + 2 * (k * a - i * c), z + 2 * (i * b - j * a)
    return jnp.stack(turned, axis=-1)


def axis_angle(axis: Float[Array, "*#n 3"], angle: Float[Array, "*n"]) -> Float[Array, "*n 4"]:
    """Unit quaternion of a rotation by `angle` [rad] about a unit `axis`."""
    half = angle[..., None] / 2
    return jnp.concatenate([jnp.cos(half), jnp.sin(half) * axis], axis=-1)


def unit_quaternions(model: Model, q: Float[Array, "B nq"]) -> Float[Array, "B nq"]:
    """Coordinates whose quaternions have length 1."""
    for joint, start in zip(model.joint, model.q_start, strict=True):
        if joint in (Joint.FREE, Joint.BALL):
            at = slice(start + 3, start + 7) if joint == Joint.FREE else slice(start, start + 4)
            q = q.at[:, at].divide(jnp.linalg.norm(q[:, at], axis=-1, keepdims=True))
    return q


def mujoco_velocities(
    model: Model, q: np.ndarray, velocity: np.ndarray, back: bool = False
) -> np.ndarray:
    """Our velocities (B, nv) as MuJoCo's, whose free joints spin in the body's axes; or `back`."""
    velocity = velocity.astype(float)
    for link in np.flatnonzero(model.joint == Joint.FREE):
        start, spin = model.q_start[link] + 3, model.v_start[link] + 3
        quat = q[:, start : start + 4]
        w, u = np.split(quat / np.linalg.norm(quat, axis=-1, keepdims=True), [1], axis=-1)
        u = u if back else -u
        v = velocity[:, spin : spin + 3]
        around = 2 * np.cross(u, v)
        velocity[:, spin : spin + 3] = v + w * around + np.cross(u, around)
    return velocity


def link_poses(model: Model, q: Float[Array, "*n nq"]) -> Float[Array, "*n links 7"]:
    """World pose of each link's frame.

    Args:
        model: an articulated model of L links.
        q: coordinates, laid out as `rfo.physics.model.Joint` says [m, rad].

    Returns:
        Position [m] and quaternion, (x, y, z, qw, qx, qy, qz), of the L links.
    """
    (poses,) = _bridge(model, q.dtype)(q.reshape(-1, model.nq))
    return poses.reshape(*q.shape[:-1], model.links, 7)


@lru_cache(maxsize=32)
def _bridge(model: Model, dtype: np.dtype) -> Bridge:
    return Bridge(pose_kernels(model, dtype))


def pose_kernels(model: Model, dtype: np.dtype) -> PackedKernels:
    """The kernels of `link_poses`."""
    own = values(NATIVE.fields, model, dt=1.0, substeps=1)
    return PackedKernels(NATIVE, own | {"nq": model.nq}, dtype)


def site_positions(
    poses: Float[Array, "*n links 7"], sites: Sequence[Site]
) -> Float[Array, "*n sites 3"]:
    """Places of sites in the world [m], for the poses of the links as `link_poses` has them."""
    links = np.array([site.link for site in sites], int)
    local = jnp.asarray([site.pos for site in sites], poses.dtype)
    carried = poses[..., np.maximum(links, 0), :]
    fixed = (links < 0)[:, None]
    quat = jnp.where(fixed, jnp.array([1.0, 0.0, 0.0, 0.0], poses.dtype), carried[..., 3:])
    origin = jnp.where(fixed, 0.0, carried[..., :3])
    return origin + rotate(quat, jnp.broadcast_to(local, origin.shape))


def cord_lengths(
    model: Model, poses: Float[Array, "B links 7"], qd: Float[Array, "B nv"]
) -> tuple[Float[Array, "B cords"], Float[Array, "B cords"]]:
    """Lengths of a model's cords [m] and their rates [m/s], for the poses of its links."""
    cords = model.cords
    places, velocities = (
        x.reshape(len(x), -1, 2, 3) for x in _moving_points(model, poses, qd, cords)
    )
    gaps, rates = places[:, :, 0] - places[:, :, 1], velocities[:, :, 0] - velocities[:, :, 1]
    sizes = jnp.sqrt(jnp.sum(gaps**2, axis=-1) + HAIR**2)
    share = np.zeros((len(cords.link), len(cords)))
    share[np.arange(len(share)), np.repeat(np.arange(len(cords)), np.diff(cords.start))] = (
        cords.scale
    )
    to_cords = jnp.asarray(share, poses.dtype)
    return sizes @ to_cords, (jnp.sum(gaps * rates, axis=-1) / sizes) @ to_cords


def _moving_points(
    model: Model, poses: Array, qd: Array, cords: Cords
) -> tuple[Float[Array, "B ends 3"], Float[Array, "B ends 3"]]:
    """Places and velocities of the two ends of each segment, segment after segment."""
    links, nv = cords.link.reshape(-1), model.nv
    ends = [Site(int(i), tuple(x)) for i, x in zip(links, cords.pos.reshape(-1, 3), strict=True)]
    places = site_positions(poses, ends)
    carried = np.zeros((model.links, nv))  # 1 where a degree of freedom moves a link
    spins, slides, turned = np.zeros((3, nv, 3))
    for i, (start, kind) in enumerate(zip(model.v_start, model.joint, strict=True)):
        part = slice(start, start + model.v_count[i])
        carried[i] = carried[model.parent[i]] if model.parent[i] >= 0 else 0
        carried[i, part] = 1
        turned[part] = kind != Joint.FREE
        if kind == Joint.FREE:
            slides[start : start + 3] = spins[start + 3 : start + 6] = np.eye(3)
        elif kind == Joint.SLIDE:
            slides[start] = model.axis[i]
        else:
            spins[part] = np.eye(3) if kind == Joint.BALL else model.axis[i]
    of = poses[:, np.repeat(np.arange(model.links), model.v_count)]
    quat = jnp.where(turned[:, :1] > 0, of[..., 3:], jnp.array([1.0, 0, 0, 0], poses.dtype))
    spin, slide = (
        rotate(quat, jnp.broadcast_to(jnp.asarray(x, poses.dtype), (*quat.shape[:-1], 3)))
        * qd[..., None]
        for x in (spins, slides)
    )
    moves = jnp.asarray(np.where((links >= 0)[:, None], carried[links], 0), poses.dtype)
    of_origin = moves @ (slide - jnp.cross(spin, of[..., :3]))
    return places, of_origin + jnp.cross(moves @ spin, places)
