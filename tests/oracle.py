"""Two oracles of articulated dynamics: the mujoco package, and the definitions in NumPy.

Our generalised velocities differ from MuJoCo's only for a FREE joint. Our angular velocity is in
world axes, MuJoCo's in body axes: qvel = T qd with T = diag(1, R^T). Both accelerations are
derivatives of their velocities, and T' qd = 0. Therefore M = T^T M_mujoco T and bias = T^T
bias_mujoco.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import mujoco
import numpy as np

from rfo.physics.model import Joint, Model


def rotation(quat: np.ndarray) -> np.ndarray:
    """Rotation matrix of a quaternion (w, x, y, z)."""
    w, u = quat[0], quat[1:]
    cross = np.cross(np.eye(3), u)
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


def axis_rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    return rotation(np.append(np.cos(angle / 2), np.sin(angle / 2) * axis))


# --------------------------------------------------------------------------------- from definitions


class Motion(NamedTuple):
    """Links in the world: origins, orientations, velocity Jacobians, and accelerations for qdd =
    0."""

    pos: np.ndarray  # (L, 3)
    rot: np.ndarray  # (L, 3, 3)
    linear: np.ndarray  # (L, 3, nv) velocity of the origin per unit of qd
    angular: np.ndarray  # (L, 3, nv)
    linear_drift: np.ndarray  # (L, 3)
    angular_drift: np.ndarray  # (L, 3)


def motion(model: Model, q: np.ndarray, qd: np.ndarray) -> Motion:
    """Forward kinematics, link by link."""
    n, nv = model.links, model.nv
    m = Motion(
        np.zeros((n, 3)), np.zeros((n, 3, 3)), np.zeros((n, 3, nv)), np.zeros((n, 3, nv)),
        np.zeros((n, 3)), np.zeros((n, 3)),
    )  # fmt: skip
    for i in range(n):
        p, iq, iv = model.parent[i], model.q_start[i], model.v_start[i]
        frame = m.rot[p] @ rotation(model.quat[i]) if p >= 0 else rotation(model.quat[i])
        omega = np.zeros(3)
        m.rot[i], m.pos[i] = frame, model.pos[i]
        if p >= 0:
            arm, omega = m.rot[p] @ model.pos[i], m.angular[p] @ qd
            m.pos[i] = m.pos[p] + arm
            m.angular[i], m.angular_drift[i] = m.angular[p], m.angular_drift[p]
            m.linear[i] = m.linear[p] + np.cross(m.angular[p], arm, axis=0)
            m.linear_drift[i] = (
                m.linear_drift[p]
                + np.cross(m.angular_drift[p], arm)
                + np.cross(omega, np.cross(omega, arm))
            )
        if model.joint[i] == Joint.FREE:
            m.pos[i], m.rot[i] = q[iq : iq + 3], rotation(q[iq + 3 : iq + 7])
            m.linear[i][:, iv : iv + 3] = m.angular[i][:, iv + 3 : iv + 6] = np.eye(3)
        elif model.joint[i] == Joint.BALL:
            m.rot[i] = frame @ rotation(q[iq : iq + 4])
            m.angular[i][:, iv : iv + 3] = m.rot[i]
            m.angular_drift[i] += np.cross(omega, m.rot[i] @ qd[iv : iv + 3])
        elif model.joint[i] == Joint.HINGE:
            m.rot[i] = frame @ axis_rotation(model.axis[i], q[iq])
            m.angular[i][:, iv] = frame @ model.axis[i]
            m.angular_drift[i] += np.cross(omega, frame @ model.axis[i] * qd[iv])
        else:
            axis = frame @ model.axis[i]
            shift = axis * q[iq]
            m.pos[i] += shift
            m.linear[i] += np.cross(m.angular[i], shift, axis=0)
            m.linear[i][:, iv] = axis
            m.linear_drift[i] += (
                np.cross(m.angular_drift[i], shift)
                + np.cross(omega, np.cross(omega, shift))
                + 2 * np.cross(omega, axis * qd[iv])
            )
    return m


def dynamics(model: Model, q: np.ndarray, qd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mass matrix (nv, nv) and bias (nv,) from the definitions.

    The mass matrix, with armature, follows from the kinetic energy; the bias, with springs and
    damping, from d'Alembert's principle.
    """
    m = motion(model, q, qd)
    mass_matrix, bias = np.diag(model.armature), np.zeros(model.nv)
    for i in range(model.links):
        arm = m.rot[i] @ model.com[i]
        inertia = m.rot[i] @ model.inertia[i] @ m.rot[i].T
        jacobian = m.linear[i] + np.cross(m.angular[i], arm, axis=0)
        omega = m.angular[i] @ qd
        drift = (
            m.linear_drift[i]
            + np.cross(m.angular_drift[i], arm)
            + np.cross(omega, np.cross(omega, arm))
        )
        torque = inertia @ m.angular_drift[i] + np.cross(omega, inertia @ omega)
        mass_matrix += (
            model.mass[i] * jacobian.T @ jacobian + m.angular[i].T @ inertia @ m.angular[i]
        )
        bias += model.mass[i] * jacobian.T @ (drift - model.gravity) + m.angular[i].T @ torque
        if model.joint[i] in (Joint.SLIDE, Joint.HINGE):
            iv = model.v_start[i]
            bias[iv] += model.stiffness[iv] * (q[model.q_start[i]] - model.spring_reference[iv])
    return mass_matrix, bias + model.damping * qd


# ------------------------------------------------------------------------------------------- mujoco


def to_mujoco(model: Model, q: np.ndarray) -> np.ndarray:
    """Matrix T (nv, nv) from our velocities to MuJoCo's: qvel = T @ qd."""
    turn = np.eye(model.nv)
    for i in np.flatnonzero(model.joint == Joint.FREE):
        iq, iv = model.q_start[i], model.v_start[i]
        turn[iv + 3 : iv + 6, iv + 3 : iv + 6] = rotation(q[iq + 3 : iq + 7]).T
    return turn


def mujoco_dynamics(
    m: mujoco.MjModel, model: Model, q: np.ndarray, qd: np.ndarray
) -> tuple[np.ndarray, np.ndarray, mujoco.MjData]:
    """The same mass matrix and bias from the mujoco package, and its data in that state."""
    turn = to_mujoco(model, q)
    data = mujoco.MjData(m)
    data.qpos[:], data.qvel[:] = q, turn @ qd
    mujoco.mj_forward(m, data)
    mass_matrix = np.zeros((m.nv, m.nv))
    mujoco.mj_fullM(m, data, mass_matrix)
    return turn.T @ mass_matrix @ turn, turn.T @ (data.qfrc_bias - data.qfrc_passive), data


def random_state(model: Model, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random coordinates with unit quaternions, and random velocities of order one."""
    q = rng.normal(size=model.nq)
    for i, start in enumerate(model.q_start):
        if model.joint[i] in (Joint.FREE, Joint.BALL):
            quat = (
                slice(start + 3, start + 7)
                if model.joint[i] == Joint.FREE
                else slice(start, start + 4)
            )
            q[quat] /= np.linalg.norm(q[quat])
    return q, rng.normal(size=model.nv)


# ------------------------------------------------------------------------------------- random trees

JOINT_SETS = (
    (), ("hinge",), ("hinge",), ("slide",), ("ball",), ("hinge", "hinge"), ("slide", "hinge"),
    ("slide", "ball"), ("slide", "slide", "hinge"),
)  # fmt: skip


def random_tree(seed: int, bodies: int = 7) -> str:
    """MJCF of a random forest with all joint types, none or several on a body, and random
    frames."""
    rng = np.random.default_rng(seed)
    parents = [-1] + [int(rng.integers(-1, i)) for i in range(1, bodies)]
    joints = [JOINT_SETS[rng.integers(len(JOINT_SETS))] for _ in range(bodies)]
    joints = [
        ("free",) if p < 0 and rng.random() < 0.5 else j
        for p, j in zip(parents, joints, strict=True)
    ]
    joints[0] = joints[0] or ("hinge",)
    texts = [_random_body(rng, i, joints[i]) for i in range(bodies)]

    def nested(parent: int) -> str:
        return "".join(
            f"<body {texts[i]}{nested(i)}</body>" for i in range(bodies) if parents[i] == parent
        )

    gravity = _numbers(rng.normal(size=3) * 5)
    return f"""<mujoco><compiler angle="radian" balanceinertia="true"/><option gravity="{gravity}"/>
        <worldbody>{nested(-1)}</worldbody></mujoco>"""


SERVOS = (
    '<motor {on} gear="{gear}"/>',
    '<position {on} gear="{gear}" kp="3" kv=".4"/>',
    '<velocity {on} gear="{gear}" kv=".7"/>',
    '<damper {on} gear="{gear}" kv=".7" ctrlrange="0 1"/>',
    '<intvelocity {on} gear="{gear}" kp="2" actrange="-.5 .5"/>',
    '<position {on} gear="{gear}" kp="3" kv=".4" forcerange="-.6 .3"/>',
    '<position {on} gear="{gear}" kp="30" kv="4" forcerange="-2 3" timeconst=".05"/>',
    '<general {on} gear="{gear}" dyntype="filter" dynprm=".1" gaintype="affine"'
    ' gainprm="1 .3 -.2" biastype="affine" biasprm=".1 -.2 -.3" actearly="true"/>',
    '<motor {on} gear="{gear}" armature=".2" damping=".3"/>',
)
"""One of each kind of actuator."""


def actuated_tree(seed: int) -> str:
    """A random tree with everything that acts along lengths: all actuators on joints and through
    fixed tendons, tendons with springs, dampers, limits and friction, dry joints, equalities."""
    text, rng = random_tree(seed), np.random.default_rng(1000 + seed)
    m = mujoco.MjModel.from_xml_string(text)
    joints = [m.joint(j).name for j in np.flatnonzero(m.jnt_type >= Joint.SLIDE)]
    assert len(joints) > 2, "take another seed"
    for name in joints[::2]:
        text = text.replace(f'name="{name}"', f'name="{name}" frictionloss="{rng.random():.3f}"')
    text = text.replace('type="free"', 'type="free" armature=".3"')

    def cord(i: int, settings: str) -> str:
        some = rng.choice(joints, 3, replace=False)
        terms = "".join(f'<joint joint="{x}" coef="{rng.normal():.3f}"/>' for x in some)
        return f'<fixed name="t{i}" {settings}>{terms}</fixed>'

    tendons = (
        'stiffness="2" springlength=".1" damping=".3" frictionloss=".2"',
        'limited="true" range="-.2 .3" armature=".1"',
        'stiffness="3" springlength="-.2 .2"',
        "",
    )
    on = [f'joint="{rng.choice(joints)}"' for _ in range(7)] + ['tendon="t1"', 'tendon="t3"']
    servos = "".join(
        one.format(on=where, gear=f"{rng.uniform(0.5, 2):.3f}")
        for one, where in zip(SERVOS, rng.permutation(on), strict=True)
    )
    a, b, c = rng.choice(joints, 3, replace=False)
    return text.replace(
        "</mujoco>",
        f"""<tendon>{"".join(cord(i, x) for i, x in enumerate(tendons))}</tendon>
        <equality><joint joint1="{a}" joint2="{b}" polycoef=".1 .7 -.3 .2 .1" solref=".3 1"/>
        <joint joint1="{c}" polycoef=".2" solref=".3 .5"/>
        <tendon tendon1="t0" tendon2="t2" polycoef="0 .5 .2" solref=".4 1"/></equality>
        <actuator>{servos}</actuator></mujoco>""",
    )


def corded_tree(seed: int) -> str:
    """A random tree with spatial tendons between its bodies, the world among them, and all that
    acts along one; one has no length in the reference pose, and one runs over pulleys."""
    text, rng = random_tree(seed), np.random.default_rng(2000 + seed)
    for i in range(7):
        site = f'<site name="s{i}" pos="{_vector(rng)}"/><site name="o{i}"/>'
        text = re.sub(f'(<body name="b{i}"[^>]*>)', rf"\1{site}", text)
    text = text.replace("<worldbody>", '<worldbody><site name="w" pos=".3 -.2 .4"/>')

    def cord(i: int, path: str, settings: str = "") -> str:
        over = [
            f'<pulley divisor="{x[1:]}"/>' if x[0] == "/" else f'<site site="{x}"/>'
            for x in path.split()
        ]
        return f'<spatial name="c{i}" {settings}>{"".join(over)}</spatial>'

    springs = 'stiffness="2" springlength=".3 .5" damping=".3" frictionloss=".2"'
    tendons = (
        cord(0, "s0 s1 s2", springs),
        cord(
            1,
            "w s3 /2 s4 s5 s0 /3 s6 s1",
            'limited="true" range=".2 .7" armature=".1" solreflimit=".3 1"',
        ),
        cord(2, "s2 s6"),
        cord(3, "w s4 o4 s4"),
        cord(4, "s1 s5"),
        cord(5, "o0 o3", 'stiffness="1"'),
        cord(6, "s6 o6", springs),
    )
    servos = (
        '<motor tendon="c0" gear="1.3"/>',
        '<position tendon="c1" gear="-.7" kp="3" kv=".4" forcerange="-.6 .3"/>',
        '<position tendon="c2" kp="30" kv="4" timeconst=".05"/>',
        '<general tendon="c3" gear=".8" dyntype="filter" dynprm=".1" gaintype="affine"'
        ' gainprm="1 .3 -.2" biastype="affine" biasprm=".1 -.2 -.3" actearly="true"/>',
        '<motor tendon="c4" armature=".2" damping=".3"/>',
    )
    return text.replace(
        "</mujoco>",
        f"""<tendon>{"".join(tendons)}</tendon><actuator>{"".join(servos)}</actuator><equality>
        <tendon tendon1="c2" tendon2="c4" polycoef="0 .5 .2" solref=".4 1"/>
        <tendon tendon1="c3" polycoef=".1" solref=".3 .5"/></equality></mujoco>""",
    )


def _random_body(rng: np.random.Generator, i: int, joints: tuple[str, ...]) -> str:
    """Attributes, joints, inertia and a geom without contact of one body."""
    text = f'name="b{i}" pos="{_vector(rng)}" quat="{_numbers(rng.normal(size=4))}">'
    for k, kind in enumerate(joints):
        text += f'<joint name="j{i}{k}" type="{kind}" damping="{rng.random():.3f}" '
        if kind in ("hinge", "slide"):
            text += f'axis="{_vector(rng)}" ref="{rng.normal():.3f}" '
            text += f'stiffness="{rng.random():.3f}" springref="{rng.normal():.3f}" '
        if kind != "free":
            text += f'pos="{_vector(rng)}" armature="{rng.random():.3f}"'
        text += "/>"
    text += f'<inertial pos="{_vector(rng)}" quat="{_numbers(rng.normal(size=4))}" '
    text += f'mass="{rng.uniform(0.5, 3):.3f}" diaginertia="{_numbers(rng.uniform(0.5, 1, 3))}"/>'
    shape = ("sphere", "capsule", "box")[i % 3]
    place = f'pos="{_vector(rng)}" euler="{_vector(rng)}"'
    return f'{text}<geom type="{shape}" size=".1 .2 .3" {place} contype="0" conaffinity="0"/>'


def _vector(rng: np.random.Generator) -> str:
    return _numbers(rng.normal(size=3) * 0.5)


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{x:.4f}" for x in values)
