"""Quaternions (w, x, y, z) and forward kinematics as plain JAX functions.

They are differentiable and batched.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rfo.physics.model import Joint, Model, Site
from rfo.types import Array, Float


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


def link_poses(model: Model, q: Float[Array, "*n nq"]) -> Float[Array, "*n links 7"]:
    """World pose of each link's frame.

    Args:
        model: an articulated model of L links.
        q: coordinates, laid out as `rfo.physics.model.Joint` says [m, rad]; quaternions have
            length 1.

    Returns:
        Position [m] and quaternion, (x, y, z, qw, qx, qy, qz), of the L links.
    """
    links, parents, back = _generations(model.parent)

    def descend(before: Array, generation: tuple[Array, Array]) -> tuple[Array, Array]:
        local, parents = generation
        origin, frame = jnp.split(before[..., parents, :], [3], axis=-1)
        pos, quat = origin + rotate(frame, local[..., :3]), multiply(frame, local[..., 3:])
        poses = jnp.concatenate([pos, quat], axis=-1)
        return poses, poses

    local = jnp.moveaxis(_in_parent(model, q)[..., links, :], -3, 0)
    world = jnp.zeros_like(local[0]).at[..., 3].set(1.0)
    _, poses = jax.lax.scan(descend, world, (local, jnp.asarray(parents)))
    return jnp.moveaxis(poses, 0, -3).reshape(*q.shape[:-1], -1, 7)[..., back, :]


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


def _in_parent(model: Model, q: Float[Array, "B nq"]) -> Float[Array, "B L 7"]:
    """Pose of each link's frame in its parent's."""
    start, axis = model.q_start, jnp.asarray(model.axis, q.dtype)
    along = [
        q[..., start] * jnp.asarray(model.joint == kind, q.dtype)
        for kind in (Joint.SLIDE, Joint.HINGE)
    ]
    place, turn = axis * along[0][..., None], axis_angle(axis, along[1])
    free, ball = (np.flatnonzero(model.joint == kind) for kind in (Joint.FREE, Joint.BALL))
    if free.size:
        place = place.at[..., free, :].set(q[..., start[free, None] + np.arange(3)])
        turn = turn.at[..., free, :].set(q[..., start[free, None] + np.arange(3, 7)])
    if ball.size:
        turn = turn.at[..., ball, :].set(q[..., start[ball, None] + np.arange(4)])
    quat = jnp.asarray(model.quat, q.dtype)
    pos = jnp.asarray(model.pos, q.dtype) + rotate(quat, place)
    return jnp.concatenate([pos, multiply(quat, turn)], axis=-1)


def _generations(parent: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Links by their distance from the world, G generations of up to W.

    Returns:
        Links (G, W), each row filled up with others; the places (G, W) of their parents in the row
        before; the place (L,) of each link among all G W.
    """
    depth = np.zeros(len(parent), int)
    rank = np.zeros(len(parent), int)
    for link, above in enumerate(parent):
        depth[link] = depth[above] + 1 if above >= 0 else 0
        rank[link] = np.sum(depth[:link] == depth[link])
    shape = (depth.max() + 1, rank.max() + 1)
    links, parents = np.zeros(shape, int), np.zeros(shape, int)
    links[depth, rank] = np.arange(len(parent))
    hangs = parent >= 0
    parents[depth[hangs], rank[hangs]] = rank[parent[hangs]]
    return links, parents, depth * shape[1] + rank
