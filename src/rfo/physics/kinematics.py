"""Quaternions (w, x, y, z) and forward kinematics as plain JAX functions, differentiable and batched."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from rfo.physics.model import Joint, Model
from rfo.types import Array, Float


def multiply(a: Float[Array, "*n 4"], b: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """Product of quaternions: the rotation `b`, then `a`."""
    aw, au, bw, bu = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
    scalar = aw * bw - jnp.sum(au * bu, axis=-1, keepdims=True)
    return jnp.concatenate([scalar, aw * bu + bw * au + jnp.cross(au, bu)], axis=-1)


def rotate(quat: Float[Array, "*n 4"], vector: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """Vectors turned by unit quaternions."""
    w, u = quat[..., :1], quat[..., 1:]
    return vector + 2 * jnp.cross(u, jnp.cross(u, vector) + w * vector)


def axis_angle(axis: Float[Array, "*n 3"], angle: Float[Array, "*n"]) -> Float[Array, "*n 4"]:
    """Unit quaternion of a rotation by `angle` [rad] about a unit `axis`."""
    half = angle[..., None] / 2
    return jnp.concatenate([jnp.cos(half), jnp.sin(half) * axis], axis=-1)


def link_poses(model: Model, q: Float[Array, "B nq"]) -> Float[Array, "B links 7"]:
    """World pose of each link's frame.

    Args:
        model: an articulated model of L links.
        q: coordinates, laid out as `rfo.physics.model.Joint` says [m, rad]; quaternions of length 1.

    Returns:
        Position [m] and quaternion, (x, y, z, qw, qx, qy, qz), of the L links.
    """
    pos, quat = _in_parent(model, q)
    generations = _generations(model.parent)
    poses: list[Array] = []
    for links, above in generations:
        place, turn = pos[..., links, :], quat[..., links, :]
        if poses:
            origin, frame = jnp.split(poses[-1][..., above, :], [3], axis=-1)
            place, turn = origin + rotate(frame, place), multiply(frame, turn)
        poses.append(jnp.concatenate([place, turn], axis=-1))
    order = np.argsort(np.concatenate([links for links, _ in generations]))
    return jnp.concatenate(poses, axis=-2)[..., order, :]


def _in_parent(model: Model, q: Float[Array, "B nq"]) -> tuple[Float[Array, "B L 3"], Float[Array, "B L 4"]]:
    """Pose of each link's frame in its parent's."""
    shape, start = (*q.shape[:-1], model.links), model.q_start
    place, turn = jnp.zeros((*shape, 3), q.dtype), jnp.zeros((*shape, 4), q.dtype).at[..., 0].set(1.0)
    axis = jnp.asarray(model.axis, q.dtype)
    free, ball, slide, hinge = (np.flatnonzero(model.joint == kind) for kind in Joint)
    if free.size:
        place = place.at[..., free, :].set(q[..., start[free, None] + np.arange(3)])
        turn = turn.at[..., free, :].set(q[..., start[free, None] + np.arange(3, 7)])
    if ball.size:
        turn = turn.at[..., ball, :].set(q[..., start[ball, None] + np.arange(4)])
    if slide.size:
        place = place.at[..., slide, :].set(axis[slide] * q[..., start[slide], None])
    if hinge.size:
        turn = turn.at[..., hinge, :].set(axis_angle(axis[hinge], q[..., start[hinge]]))
    quat = jnp.asarray(model.quat, q.dtype)
    return jnp.asarray(model.pos, q.dtype) + rotate(quat, place), multiply(quat, turn)


def _generations(parent: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Links by their distance from the world, each time with their parents' places among those before."""
    links, generations = np.flatnonzero(parent < 0), []
    above = np.zeros(0, int)
    while links.size:
        generations.append((links, above))
        children = np.flatnonzero(np.isin(parent, links))
        links, above = children, np.searchsorted(links, parent[children])
    return generations
