"""Quaternions (w, x, y, z) and forward kinematics as plain JAX functions, differentiable and batched."""

from __future__ import annotations

import jax.numpy as jnp

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
    batch = q.shape[:-1]

    def constant(value) -> Array:
        return jnp.broadcast_to(jnp.asarray(value, q.dtype), (*batch, len(value)))

    poses: list[tuple[Array, Array]] = []
    for link, (parent, start) in enumerate(zip(model.parent, model.q_start, strict=True)):
        pos, quat = constant(model.pos[link]), constant(model.quat[link])
        if parent >= 0:
            origin, turn = poses[parent]
            pos, quat = origin + rotate(turn, pos), multiply(turn, quat)
        match Joint(model.joint[link]):
            case Joint.FREE:
                pos, quat = q[..., start : start + 3], q[..., start + 3 : start + 7]
            case Joint.BALL:
                quat = multiply(quat, q[..., start : start + 4])
            case Joint.SLIDE:
                pos = pos + rotate(quat, constant(model.axis[link])) * q[..., start, None]
            case Joint.HINGE:
                quat = multiply(quat, axis_angle(constant(model.axis[link]), q[..., start]))
        poses.append((pos, quat))
    return jnp.stack([jnp.concatenate(pose, axis=-1) for pose in poses], axis=-2)
