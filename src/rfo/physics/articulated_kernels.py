"""Warp kernels of articulated dynamics in reduced coordinates.

Notation (Featherstone): every spatial vector is (angular ``a``, linear ``l``), in world axes, about the origin
of its tree: the root link's origin where the root is a FREE joint (so numbers stay small far from home), the
world's origin otherwise. ``S`` are joint axes, ``V`` link velocities, ``A`` accelerations.

One substep: kinematics and bias by Newton-Euler, mass matrix H by composite bodies, H = L^T D L along the tree
(no fill-in), semi-implicit Euler. For a FREE joint ``qdd`` is the spatial acceleration, whose linear part is that
of the material point at the tree's origin minus omega x v; the integrator accounts for it.
"""

import warp as wp

from rfo.physics.contact import contact_force

FREE = wp.constant(0)
BALL = wp.constant(1)
SLIDE = wp.constant(2)
HINGE = wp.constant(3)


@wp.struct
class ModelArrays:
    """`rfo.physics.model.Model` on the device, with derived indices."""

    links: int
    nq: int
    nv: int
    nu: int
    nm: int  # entries of the sparse mass matrix
    contacts: int
    substeps: int
    width: int  # floats of one substep on the tape
    dt: float
    gravity: wp.vec3
    ground_normal: wp.vec3
    ground_height: float
    # per link
    parent: wp.array(dtype=int)
    root: wp.array(dtype=int)
    joint: wp.array(dtype=int)
    q_start: wp.array(dtype=int)
    v_start: wp.array(dtype=int)
    v_count: wp.array(dtype=int)
    pos: wp.array(dtype=wp.vec3)
    quat: wp.array(dtype=wp.quat)
    axis: wp.array(dtype=wp.vec3)
    mass: wp.array(dtype=float)
    com: wp.array(dtype=wp.vec3)
    inertia: wp.array(dtype=wp.mat33)
    # per degree of freedom
    dof_parent: wp.array(dtype=int)
    dof_link: wp.array(dtype=int)
    dof_q: wp.array(dtype=int)
    row: wp.array(dtype=int)  # where a row of H starts: diagonal, then its ancestors upwards
    armature: wp.array(dtype=float)
    damping: wp.array(dtype=float)
    stiffness: wp.array(dtype=float)
    spring_reference: wp.array(dtype=float)
    limit_lower: wp.array(dtype=float)
    limit_upper: wp.array(dtype=float)
    limit_ke: wp.array(dtype=float)
    limit_kd: wp.array(dtype=float)
    # per control
    control_dof: wp.array(dtype=int)
    control_gear: wp.array(dtype=float)
    # per contact sphere
    contact_link: wp.array(dtype=int)
    contact_pos: wp.array(dtype=wp.vec3)
    contact_radius: wp.array(dtype=float)
    contact_ke: wp.array(dtype=float)
    contact_kd: wp.array(dtype=float)
    contact_kf: wp.array(dtype=float)
    contact_mu: wp.array(dtype=float)


@wp.struct
class Motion:
    """Scratch of the kinematic sweep; overwritten every substep."""

    pos: wp.array(dtype=wp.vec3)  # (envs * links) about the tree's origin
    rot: wp.array(dtype=wp.quat)
    va: wp.array(dtype=wp.vec3)
    vl: wp.array(dtype=wp.vec3)
    aa: wp.array(dtype=wp.vec3)
    al: wp.array(dtype=wp.vec3)
    sa: wp.array(dtype=wp.vec3)  # (envs * nv)
    sl: wp.array(dtype=wp.vec3)


@wp.struct
class Forces:
    """Scratch of the forward pass: forces and composite inertia of subtrees."""

    fa: wp.array(dtype=wp.vec3)  # (envs * links)
    fl: wp.array(dtype=wp.vec3)
    inertia: wp.array(dtype=wp.mat33)
    moment: wp.array(dtype=wp.vec3)  # mass times centre of mass
    mass: wp.array(dtype=float)


# ------------------------------------------------------------------------------------------------ kinematics


@wp.func
def load_quat(q: wp.array(dtype=float), i: int) -> wp.quat:
    """Quaternion stored as (w, x, y, z), normalised."""
    return wp.normalize(wp.quat(q[i + 1], q[i + 2], q[i + 3], q[i]))


@wp.func
def load_vec3(x: wp.array(dtype=float), i: int) -> wp.vec3:
    """Three consecutive numbers."""
    return wp.vec3(x[i], x[i + 1], x[i + 2])


@wp.func
def tree_origin(m: ModelArrays, link: int, q: wp.array(dtype=float), oq: int) -> wp.vec3:
    """World position of the origin that the spatial vectors of `link` refer to [m]."""
    root = m.root[link]
    origin = wp.vec3(0.0)
    if m.joint[root] == FREE:
        origin = load_vec3(q, oq + m.q_start[root])
    return origin


@wp.func
def parent_rotation(m: ModelArrays, i: int, e: int, s: Motion) -> wp.quat:
    """Orientation of the parent link, the identity for the world."""
    r = wp.quat_identity()
    if m.parent[i] >= 0:
        r = s.rot[e * m.links + m.parent[i]]
    return r


@wp.func
def parent_vector(m: ModelArrays, i: int, e: int, x: wp.array(dtype=wp.vec3)) -> wp.vec3:
    """A vector of the parent link, zero for the world."""
    r = wp.vec3(0.0)
    if m.parent[i] >= 0:
        r = x[e * m.links + m.parent[i]]
    return r


@wp.func
def place_link(m: ModelArrays, i: int, e: int, s: Motion, q: wp.array(dtype=float), oq: int):
    """Pose of link i and its joint axes, about the tree's origin."""
    k = e * m.links + i
    iq = oq + m.q_start[i]
    jv = e * m.nv + m.v_start[i]
    zero = wp.vec3(0.0)
    kind = m.joint[i]
    if kind == FREE:
        s.pos[k] = zero
        s.rot[k] = load_quat(q, iq + 3)
        for c in range(3):
            unit = wp.vec3(float(c == 0), float(c == 1), float(c == 2))
            s.sa[jv + c] = zero
            s.sl[jv + c] = unit
            s.sa[jv + 3 + c] = unit
            s.sl[jv + 3 + c] = zero
    else:
        rp = parent_rotation(m, i, e, s)
        anchor = parent_vector(m, i, e, s.pos) + wp.quat_rotate(rp, m.pos[i])
        base = rp * m.quat[i]
        if kind == HINGE:
            rot = base * wp.quat_from_axis_angle(m.axis[i], q[iq])
            axis = wp.quat_rotate(base, m.axis[i])
            s.pos[k] = anchor
            s.rot[k] = rot
            s.sa[jv] = axis
            s.sl[jv] = wp.cross(anchor, axis)
        elif kind == SLIDE:
            axis = wp.quat_rotate(base, m.axis[i])
            s.pos[k] = anchor + axis * q[iq]
            s.rot[k] = base
            s.sa[jv] = zero
            s.sl[jv] = axis
        else:
            rot = base * load_quat(q, iq)
            s.pos[k] = anchor
            s.rot[k] = rot
            for c in range(3):
                axis = wp.quat_rotate(rot, wp.vec3(float(c == 0), float(c == 1), float(c == 2)))
                s.sa[jv + c] = axis
                s.sl[jv + c] = wp.cross(anchor, axis)


@wp.func
def joint_twist_angular(
    m: ModelArrays, i: int, e: int, s: Motion, x: wp.array(dtype=float), ox: int
) -> wp.vec3:
    """Angular part of the sum of S_j x_j over the joint's degrees of freedom."""
    r = wp.vec3(0.0)
    j0 = m.v_start[i]
    if m.joint[i] == FREE:
        r = load_vec3(x, ox + j0 + 3)
    else:
        for c in range(m.v_count[i]):
            r += s.sa[e * m.nv + j0 + c] * x[ox + j0 + c]
    return r


@wp.func
def joint_twist_linear(
    m: ModelArrays, i: int, e: int, s: Motion, x: wp.array(dtype=float), ox: int
) -> wp.vec3:
    """Linear part of the sum of S_j x_j over the joint's degrees of freedom."""
    r = wp.vec3(0.0)
    j0 = m.v_start[i]
    if m.joint[i] == FREE:
        r = load_vec3(x, ox + j0)
    else:
        for c in range(m.v_count[i]):
            r += s.sl[e * m.nv + j0 + c] * x[ox + j0 + c]
    return r


@wp.func
def move_link(m: ModelArrays, i: int, e: int, s: Motion, x: wp.array(dtype=float), od: int, oa: int):
    """Velocity and acceleration of link i from x[od:] = qd and x[oa:] = qdd."""
    k = e * m.links + i
    va = parent_vector(m, i, e, s.va)
    vl = parent_vector(m, i, e, s.vl)
    ja = joint_twist_angular(m, i, e, s, x, od)
    jl = joint_twist_linear(m, i, e, s, x, od)
    s.va[k] = va + ja
    s.vl[k] = vl + jl
    # the axes of a joint move with its parent
    s.aa[k] = parent_vector(m, i, e, s.aa) + wp.cross(va, ja) + joint_twist_angular(m, i, e, s, x, oa)
    s.al[k] = (
        parent_vector(m, i, e, s.al)
        + wp.cross(va, jl)
        + wp.cross(vl, ja)
        + joint_twist_linear(m, i, e, s, x, oa)
    )


# ------------------------------------------------------------------------------------------ applied joint forces


@wp.func
def joint_force(m: ModelArrays, j: int, q: float, qd: float) -> float:
    """Spring and limit force on a SLIDE or HINGE [N or N m]; damping is implicit, elsewhere."""
    f = -m.stiffness[j] * (q - m.spring_reference[j])
    if q < m.limit_lower[j]:
        f += m.limit_ke[j] * (m.limit_lower[j] - q) - m.limit_kd[j] * qd
    if q > m.limit_upper[j]:
        f += m.limit_ke[j] * (m.limit_upper[j] - q) - m.limit_kd[j] * qd
    return f


# ------------------------------------------------------------------------------------------------------- forward


@wp.func
def body_forces(m: ModelArrays, i: int, e: int, s: Motion, f: Forces):
    """Newton-Euler force of link i for qdd = 0 less gravity, and its inertia, about the tree's origin."""
    k = e * m.links + i
    rot = wp.quat_to_matrix(s.rot[k])
    mass = m.mass[i]
    c = s.pos[k] + rot * m.com[i]
    va = s.va[k]
    vl = s.vl[k]
    inertia = rot * m.inertia[i] * wp.transpose(rot)
    acc = s.al[k] + wp.cross(s.aa[k], c) + wp.cross(va, vl + wp.cross(va, c)) - m.gravity
    push = mass * acc
    f.fl[k] = push
    f.fa[k] = wp.cross(c, push) + inertia * s.aa[k] + wp.cross(va, inertia * va)
    f.inertia[k] = inertia + mass * (wp.dot(c, c) * wp.identity(n=3, dtype=float) - wp.outer(c, c))
    f.moment[k] = mass * c
    f.mass[k] = mass


@wp.func
def ground_forces(m: ModelArrays, e: int, s: Motion, f: Forces, q: wp.array(dtype=float), oq: int):
    """Subtract the ground's push from the forces of the links that touch it."""
    n = m.ground_normal
    for c in range(m.contacts):
        i = m.contact_link[c]
        k = e * m.links + i
        x = s.pos[k] + wp.quat_rotate(s.rot[k], m.contact_pos[c]) - n * m.contact_radius[c]
        depth = m.ground_height - wp.dot(n, x + tree_origin(m, i, q, oq))
        if depth > 0.0:
            velocity = s.vl[k] + wp.cross(s.va[k], x)
            push = contact_force(
                depth, n, velocity, m.contact_ke[c], m.contact_kd[c], m.contact_kf[c], m.contact_mu[c]
            )
            f.fl[k] = f.fl[k] - push
            f.fa[k] = f.fa[k] - wp.cross(x, push)


@wp.func
def mass_matrix_row(m: ModelArrays, j: int, e: int, s: Motion, f: Forces, h: wp.array(dtype=float), oh: int):
    """Row j of the joint-space inertia: the diagonal and the columns of j's ancestors."""
    k = e * m.links + m.dof_link[j]
    sa = s.sa[e * m.nv + j]
    sl = s.sl[e * m.nv + j]
    fa = f.inertia[k] * sa + wp.cross(f.moment[k], sl)
    fl = f.mass[k] * sl + wp.cross(sa, f.moment[k])
    a = oh + m.row[j]
    i = int(j)
    while i >= 0:
        h[a] = wp.dot(s.sa[e * m.nv + i], fa) + wp.dot(s.sl[e * m.nv + i], fl)
        a += 1
        i = m.dof_parent[i]


@wp.func
def factorise(m: ModelArrays, h: wp.array(dtype=float), oh: int):
    """H = L^T D L in place: rows of L (unit diagonal) with 1 / D on the diagonal."""
    for r in range(m.nv):
        k = m.nv - 1 - r
        inverse = 1.0 / h[oh + m.row[k]]
        h[oh + m.row[k]] = inverse
        ai = oh + m.row[k] + 1
        i = int(m.dof_parent[k])
        while i >= 0:
            value = h[ai] * inverse
            aj = int(ai)
            t = oh + m.row[i]
            j = int(i)
            while j >= 0:
                h[t] = h[t] - value * h[aj]
                t += 1
                aj += 1
                j = m.dof_parent[j]
            h[ai] = value
            ai += 1
            i = m.dof_parent[i]


@wp.func
def solve(m: ModelArrays, h: wp.array(dtype=float), oh: int, x: wp.array(dtype=float), ox: int):
    """x <- H^-1 x with the factors of `factorise`."""
    for r in range(m.nv):
        i = m.nv - 1 - r
        xi = x[ox + i]
        a = oh + m.row[i] + 1
        j = int(m.dof_parent[i])
        while j >= 0:
            x[ox + j] = x[ox + j] - h[a] * xi
            a += 1
            j = m.dof_parent[j]
    for i in range(m.nv):
        xi = x[ox + i] * h[oh + m.row[i]]
        a = oh + m.row[i] + 1
        j = int(m.dof_parent[i])
        while j >= 0:
            xi -= h[a] * x[ox + j]
            a += 1
            j = m.dof_parent[j]
        x[ox + i] = xi


@wp.func
def integrate_link(
    m: ModelArrays,
    i: int,
    q: wp.array(dtype=float),
    oq: int,
    qd: wp.array(dtype=float),
    od: int,
    qdd: wp.array(dtype=float),
    oa: int,
    q1: wp.array(dtype=float),
    oq1: int,
    qd1: wp.array(dtype=float),
    od1: int,
):
    """Semi-implicit Euler of one joint. A FREE joint's twist is advanced at a point fixed in space."""
    iq = m.q_start[i]
    iv = m.v_start[i]
    kind = m.joint[i]
    if kind == FREE:
        p = load_vec3(q, oq + iq)
        v = load_vec3(qd, od + iv) + m.dt * load_vec3(qdd, oa + iv)
        w = load_vec3(qd, od + iv + 3) + m.dt * load_vec3(qdd, oa + iv + 3)
        r = load_quat(q, oq + iq + 3)
        p1 = p + m.dt * v
        v1 = v + m.dt * wp.cross(w, v)
        r1 = wp.normalize(r + wp.quat(w, 0.0) * r * (0.5 * m.dt))
        for c in range(3):
            q1[oq1 + iq + c] = p1[c]
            q1[oq1 + iq + 4 + c] = r1[c]
            qd1[od1 + iv + c] = v1[c]
            qd1[od1 + iv + 3 + c] = w[c]
        q1[oq1 + iq + 3] = r1[3]
    elif kind == BALL:
        w = load_vec3(qd, od + iv) + m.dt * load_vec3(qdd, oa + iv)
        r = load_quat(q, oq + iq)
        r1 = wp.normalize(r + r * wp.quat(w, 0.0) * (0.5 * m.dt))
        for c in range(3):
            q1[oq1 + iq + 1 + c] = r1[c]
            qd1[od1 + iv + c] = w[c]
        q1[oq1 + iq] = r1[3]
    else:
        speed = qd[od + iv] + m.dt * qdd[oa + iv]
        qd1[od1 + iv] = speed
        q1[oq1 + iq] = q[oq + iq] + m.dt * speed


@wp.func
def generalised_forces(
    m: ModelArrays,
    e: int,
    s: Motion,
    f: Forces,
    x: wp.array(dtype=float),
    oq: int,
    od: int,
    oa: int,
):
    """Right-hand side tau - bias of the equations of motion without controls, into x[oa:oa + nv].

    Coordinates are read from x[oq:], velocities from x[od:]. Forces and inertias of subtrees are summed on the way.
    """
    for r in range(m.links):
        i = m.links - 1 - r
        k = e * m.links + i
        for c in range(m.v_count[i]):
            j = m.v_start[i] + c
            jv = e * m.nv + j
            tau = -wp.dot(s.sa[jv], f.fa[k]) - wp.dot(s.sl[jv], f.fl[k]) - m.damping[j] * x[od + j]
            if m.dof_q[j] >= 0:
                tau += joint_force(m, j, x[oq + m.dof_q[j]], x[od + j])
            x[oa + j] = tau
        if m.parent[i] >= 0:
            p = e * m.links + m.parent[i]
            f.fa[p] = f.fa[p] + f.fa[k]
            f.fl[p] = f.fl[p] + f.fl[k]
            f.inertia[p] = f.inertia[p] + f.inertia[k]
            f.moment[p] = f.moment[p] + f.moment[k]
            f.mass[p] = f.mass[p] + f.mass[k]


@wp.kernel(enable_backward=False)
def step_kernel(
    m: ModelArrays,
    q: wp.array(dtype=float),
    qd: wp.array(dtype=float),
    control: wp.array(dtype=float),
    s: Motion,
    f: Forces,
    q_out: wp.array(dtype=float),
    qd_out: wp.array(dtype=float),
    tape: wp.array(dtype=float),
):
    """All substeps of one control step of one environment. The tape keeps (q, qd, qdd, factors) of each."""
    e = wp.tid()
    for j in range(m.nq):
        tape[e * m.substeps * m.width + j] = q[e * m.nq + j]
    for j in range(m.nv):
        tape[e * m.substeps * m.width + m.nq + j] = qd[e * m.nv + j]
    for k in range(m.substeps):
        oq = (e * m.substeps + k) * m.width
        od = oq + m.nq
        oa = od + m.nv
        oh = oa + m.nv
        for j in range(m.nv):
            tape[oa + j] = 0.0
        for i in range(m.links):
            place_link(m, i, e, s, tape, oq)
            move_link(m, i, e, s, tape, od, oa)
            body_forces(m, i, e, s, f)
        ground_forces(m, e, s, f, tape, oq)
        generalised_forces(m, e, s, f, tape, oq, od, oa)
        for c in range(m.nu):
            j = m.control_dof[c]
            tape[oa + j] = tape[oa + j] + m.control_gear[c] * control[e * m.nu + c]
        for j in range(m.nv):
            mass_matrix_row(m, j, e, s, f, tape, oh)
            a = oh + m.row[j]
            tape[a] = tape[a] + m.armature[j] + m.dt * m.damping[j]
        factorise(m, tape, oh)
        solve(m, tape, oh, tape, oa)
        if k < m.substeps - 1:
            for i in range(m.links):
                integrate_link(m, i, tape, oq, tape, od, tape, oa, tape, oq + m.width, tape, od + m.width)
        else:
            for i in range(m.links):
                integrate_link(m, i, tape, oq, tape, od, tape, oa, q_out, e * m.nq, qd_out, e * m.nv)


@wp.kernel(enable_backward=False)
def dynamics_kernel(
    m: ModelArrays,
    state: wp.array(dtype=float),  # (envs, nq + nv)
    s: Motion,
    f: Forces,
    mass_matrix: wp.array(dtype=float),  # (envs, nm), with armature
    right_hand_side: wp.array(dtype=float),  # (envs, nq + 2 nv): q, qd, tau - bias
):
    """Mass matrix and bias of a state, for inspection and tests."""
    e = wp.tid()
    n = m.nq + m.nv
    oq = e * (n + m.nv)
    for j in range(n):
        right_hand_side[oq + j] = state[e * n + j]
    for j in range(m.nv):
        right_hand_side[oq + n + j] = 0.0
    for i in range(m.links):
        place_link(m, i, e, s, right_hand_side, oq)
        move_link(m, i, e, s, right_hand_side, oq + m.nq, oq + n)
        body_forces(m, i, e, s, f)
    ground_forces(m, e, s, f, right_hand_side, oq)
    generalised_forces(m, e, s, f, right_hand_side, oq, oq + m.nq, oq + n)
    for j in range(m.nv):
        mass_matrix_row(m, j, e, s, f, mass_matrix, e * m.nm)
        a = e * m.nm + m.row[j]
        mass_matrix[a] = mass_matrix[a] + m.armature[j]
