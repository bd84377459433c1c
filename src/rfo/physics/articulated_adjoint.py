"""Adjoint of articulated dynamics, one substep at a time.

A substep solves  r(qdd; q, qd, u) = H qdd + bias - tau = 0.  For an adjoint g of qdd,

    lambda = H^-1 g,      adjoint of (q, qd, u) = - d(lambda . r) / d(q, qd, u)      (qdd and lambda held fixed).

``lambda . r`` is the *virtual power* of all forces under the joint velocities lambda: one sweep from the roots to
the leaves, without mass matrix or factorisation (the forward pass kept the factors). Warp differentiates that sweep.
No array is written twice in a launch that is differentiated: Warp would keep the adjoint of the overwritten value.
"""

import warp as wp

from rfo.physics.articulated_kernels import (
    ModelArrays,
    Motion,
    integrate_link,
    joint_force,
    joint_twist_angular,
    joint_twist_linear,
    move_link,
    parent_vector,
    place_link,
    solve,
    tree_origin,
)
from rfo.physics.contact import contact_force


@wp.kernel
def integrate_kernel(
    m: ModelArrays,
    k: int,
    tape: wp.array(dtype=float),
    q1: wp.array(dtype=float),
    qd1: wp.array(dtype=float),
):
    """The integrator of substep k alone; launched for its adjoint."""
    e = wp.tid()
    oq = (e * m.substeps + k) * m.width
    od = oq + m.nq
    oa = od + m.nv
    for i in range(m.links):
        integrate_link(m, i, tape, oq, tape, od, tape, oa, q1, e * m.nq, qd1, e * m.nv)


@wp.kernel(enable_backward=False)
def multiplier_kernel(
    m: ModelArrays,
    k: int,
    tape: wp.array(dtype=float),
    adj_tape: wp.array(dtype=float),
    multiplier: wp.array(dtype=float),
):
    """lambda = H^-1 g, with the adjoint g of qdd that the integrator left on the tape's adjoint."""
    e = wp.tid()
    oa = (e * m.substeps + k) * m.width + m.nq + m.nv
    om = e * m.nv
    for j in range(m.nv):
        multiplier[om + j] = adj_tape[oa + j]
    solve(m, tape, oa + m.nv, multiplier, om)


@wp.kernel(enable_backward=False)
def collect_kernel(
    m: ModelArrays,
    k: int,
    adj_tape: wp.array(dtype=float),
    adj_q: wp.array(dtype=float),
    adj_qd: wp.array(dtype=float),
):
    """Adjoint of the state at the start of substep k, from the tape's adjoint."""
    e = wp.tid()
    o = (e * m.substeps + k) * m.width
    for j in range(m.nq):
        adj_q[e * m.nq + j] = adj_tape[o + j]
    for j in range(m.nv):
        adj_qd[e * m.nv + j] = adj_tape[o + m.nq + j]


@wp.func
def inertial_power(m: ModelArrays, i: int, k: int, s: Motion, wa: wp.vec3, wl: wp.vec3) -> float:
    """Power of link i's inertial force less gravity under the virtual velocity (wa, wl) [W]."""
    rot = s.rot[k]
    c = s.pos[k] + wp.quat_rotate(rot, m.com[i])
    va = s.va[k]
    aa = s.aa[k]
    acc = s.al[k] + wp.cross(aa, c) + wp.cross(va, s.vl[k] + wp.cross(va, c)) - m.gravity
    spin = wp.quat_rotate_inv(rot, va)
    torque = m.inertia[i] * wp.quat_rotate_inv(rot, aa) + wp.cross(spin, m.inertia[i] * spin)
    return m.mass[i] * wp.dot(acc, wl + wp.cross(wa, c)) + wp.dot(torque, wp.quat_rotate_inv(rot, wa))


@wp.kernel
def power_kernel(
    m: ModelArrays,
    k: int,
    tape: wp.array(dtype=float),
    control: wp.array(dtype=float),
    multiplier: wp.array(dtype=float),
    s: Motion,
    wa: wp.array(dtype=wp.vec3),
    wl: wp.array(dtype=wp.vec3),
    power: wp.array(dtype=float),
):
    """Virtual power lambda . (H qdd + bias - tau) of substep k; launched for its adjoint."""
    e = wp.tid()
    oq = (e * m.substeps + k) * m.width
    od = oq + m.nq
    oa = od + m.nv
    om = e * m.nv
    for i in range(m.links):
        place_link(m, i, e, s, tape, oq)
        move_link(m, i, e, s, tape, od, oa)
        b = e * m.links + i
        wa[b] = parent_vector(m, i, e, wa) + joint_twist_angular(m, i, e, s, multiplier, om)
        wl[b] = parent_vector(m, i, e, wl) + joint_twist_linear(m, i, e, s, multiplier, om)
        wp.atomic_add(power, e, inertial_power(m, i, b, s, wa[b], wl[b]))
    n = m.ground_normal
    for c in range(m.contacts):
        i = m.contact_link[c]
        b = e * m.links + i
        x = s.pos[b] + wp.quat_rotate(s.rot[b], m.contact_pos[c]) - n * m.contact_radius[c]
        depth = m.ground_height - wp.dot(n, x + tree_origin(m, i, tape, oq))
        if depth > 0.0:
            velocity = s.vl[b] + wp.cross(s.va[b], x)
            push = contact_force(
                depth, n, velocity, m.contact_ke[c], m.contact_kd[c], m.contact_kf[c], m.contact_mu[c]
            )
            wp.atomic_sub(power, e, wp.dot(push, wl[b] + wp.cross(wa[b], x)))
    for j in range(m.nv):
        # implicit damping: the inertia carries dt * damping (see step_kernel)
        load = (m.armature[j] + m.dt * m.damping[j]) * tape[oa + j] + m.damping[j] * tape[od + j]
        wp.atomic_add(power, e, multiplier[om + j] * load)
        if m.dof_q[j] >= 0:
            spring = joint_force(m, j, tape[oq + m.dof_q[j]], tape[od + j])
            wp.atomic_sub(power, e, multiplier[om + j] * spring)
    for c in range(m.nu):
        j = m.control_dof[c]
        wp.atomic_sub(power, e, multiplier[om + j] * m.control_gear[c] * control[e * m.nu + c])
