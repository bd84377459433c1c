"""Trajectories recorded from Rewarped 1.3.3: its constants as a `Model`, its coordinates as ours.

Rewarped has y up and quaternions (x, y, z, w). The velocity of its FREE joint is the twist
(angular, linear) of the point that is at the origin of the joint's frame. The environments of a
file are stacked along the axis B.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.model import Joint, Model
from rollouts import motors

FOLDER = Path(os.environ.get("RFO_GOLDEN") or Path(__file__).parents[2] / "shared" / "golden")

PRISMATIC, FREE, COMPOUND = 0, 4, 5
SPHERE, BOX, CAPSULE, PLANE = 0, 1, 2, 7


def recorded(task: str) -> dict[str, np.ndarray]:
    """All arrays of a task's file; skips the test if there is no file."""
    path = FOLDER / f"{task}_a.npz"
    if not path.is_file():
        pytest.skip(f"no reference trajectories at {path} (set RFO_GOLDEN to their folder)")
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def per_env(data: dict[str, np.ndarray], values: np.ndarray) -> np.ndarray:
    """Split the first axis, which is flat over environments, into (B, n)."""
    return values.reshape(int(data["const_num_envs"]), -1, *values.shape[1:])


def model(data: dict[str, np.ndarray]) -> Model:
    """The recorded model of one environment, with y up and actions in [-1, 1] as controls."""
    bodies = len(per_env(data, data["model_body_mass"])[0])
    links = _links(data, bodies)
    joint = np.array([link.joint for link in links])
    # index of the link that carries each body
    last = np.array([i for i, link in enumerate(links) if link.ends])
    free = joint == Joint.FREE
    # from each body's frame to that of its joint
    shift = data["model_joint_X_c"][:bodies, :3].astype(float)
    com = data["model_body_com"][:bodies] - shift

    def of_bodies(values: np.ndarray) -> np.ndarray:
        """Values per link; all links of a body except the last have no mass."""
        spread = np.zeros((len(links), *values.shape[1:]))
        spread[last] = values
        return spread

    scalar = np.repeat(~free, np.where(free, 6, 1))

    def spread(name: str, elsewhere: float) -> np.ndarray:
        """An array over SLIDE and HINGE degrees of freedom, extended to all degrees of freedom."""
        values = np.full(len(scalar), elsewhere)
        values[scalar] = data[name][: np.sum(scalar)]
        return values

    sign = -1.0 if free[0] else 1.0  # Rewarped's ant and humanoid negate their actions
    controls = np.flatnonzero(scalar)[: int(data["const_num_act"])]
    return Model(
        parent=np.array(
            [
                last[link.parent] if link.first and link.parent >= 0 else link.parent
                for link in links
            ]
        ),
        joint=joint,
        pos=np.array([link.pos for link in links]),
        quat=np.array([link.quat for link in links]),
        axis=np.array([link.axis for link in links]),
        mass=of_bodies(data["model_body_mass"][:bodies].astype(float)),
        com=of_bodies(com),
        inertia=of_bodies(data["model_body_inertia"][:bodies].astype(float)),
        q0=coordinates(data, data["model_joint_q"], data["model_joint_qd"])[0][0],
        armature=data["model_joint_armature"][: len(scalar)].astype(float),
        damping=np.zeros(len(scalar)),  # Rewarped ignores joint damping in force mode
        stiffness=np.zeros(len(scalar)),
        spring_reference=np.zeros(len(scalar)),
        limit_lower=spread("model_joint_limit_lower", -np.inf),
        limit_upper=spread("model_joint_limit_upper", np.inf),
        limit_ke=spread("model_joint_limit_ke", 0.0),
        limit_kd=spread("model_joint_limit_kd", 0.0),
        actuators=motors(
            controls, np.full(len(controls), sign) * np.ravel(data["const_action_scale"])
        ),
        **_contact_spheres(data, last, shift),
        gravity=data["const_gravity"],
        ground_normal=data["const_ground_plane"][:3].astype(float),
        ground_height=0.0,
        link_names=tuple(f"{data['names_body'][link.body]}:{i}" for i, link in enumerate(links)),
        dof_names=tuple(str(i) for i in range(len(scalar))),
    )


class _Link(NamedTuple):
    """One degree of freedom (or a FREE joint) of a recorded body."""

    body: int
    parent: int
    """Parent body for the first link of a body, else the previous link."""
    joint: Joint
    pos: np.ndarray
    quat: np.ndarray
    axis: np.ndarray
    first: bool
    ends: bool


def _links(data: dict[str, np.ndarray], bodies: int) -> list[_Link]:
    """Links of all bodies; a joint with several axes becomes a chain of hinges."""
    assert np.all(data["model_joint_X_c"][:, 6] == 1)
    links = []
    for body in range(bodies):
        kind, parent = int(data["model_joint_type"][body]), int(data["model_joint_parent"][body])
        frame = data["model_joint_X_p"][body].astype(float)
        if kind == FREE:  # its frame only shifts the coordinates along the ground
            zero, unit = np.zeros(3), np.array([1.0, 0, 0, 0])
            links.append(_Link(body, parent, Joint.FREE, zero, unit, zero, True, True))
            continue
        start, count = (
            data["model_joint_axis_start"][body],
            data["model_joint_axis_dim"][body].sum(),
        )
        axes = data["model_joint_axis"][start : start + count].astype(float)
        if kind == COMPOUND:
            # The axes are left-handed. Rewarped's rotation from them has the order first, third,
            # second.
            assert np.linalg.det(axes) < 0
            axes = axes[[0, 2, 1]]
        for c, axis in enumerate(axes):
            anchor = frame[:3] - (data["model_joint_X_c"][parent, :3] if parent >= 0 else 0)
            pos, quat = (
                (anchor, frame[[6, 3, 4, 5]]) if c == 0 else (np.zeros(3), np.array([1.0, 0, 0, 0]))
            )
            above = parent if c == 0 else len(links) - 1
            shape = Joint.SLIDE if kind == PRISMATIC else Joint.HINGE
            links.append(_Link(body, above, shape, pos, quat, axis, c == 0, c == count - 1))
    return links


def _contact_spheres(
    data: dict[str, np.ndarray], last: np.ndarray, shift: np.ndarray
) -> dict[str, np.ndarray]:
    """Spheres and ends of capsules, with the means of their constants and the ground's."""
    ground = len(data["model_shape_body"]) - 1
    touching = {int(shape) for shape, _ in data["model_shape_ground_contact_pairs"]}
    rows = []
    for shape in sorted(touching):
        body, kind = int(data["model_shape_body"][shape]), int(data["model_shape_geo_type"][shape])
        if not 0 <= body < len(last) or kind == BOX:  # cart and pole never come near the ground
            continue
        half = data["model_shape_geo_scale"][shape, 1] if kind == CAPSULE else 0.0
        transform = data["model_shape_transform"][shape].astype(float)
        for end in (-half, half) if kind == CAPSULE else (0.0,):
            centre = transform[:3] + rotate(transform[[6, 3, 4, 5]], np.array([0, end, 0]))
            rows.append((shape, last[body], centre - shift[body]))
    shapes = [shape for shape, _, _ in rows]
    thickness = data["model_shape_geo_thickness"].astype(float)
    constants = {k: data[f"model_shape_mat_{k}"].astype(float) for k in ("ke", "kd", "kf", "mu")}
    return {
        "contact_link": np.array([link for _, link, _ in rows], int),
        "contact_pos": np.array([centre for _, _, centre in rows]).reshape(-1, 3),
        "contact_radius": thickness[shapes],
        **{
            f"contact_{k}": (values[shapes] + values[ground]) / 2 for k, values in constants.items()
        },
        "contact_kh": np.zeros(len(rows)),
    }


def rotate(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Vectors rotated by quaternions (w, x, y, z), over leading axes."""
    w, u = quat[..., :1], quat[..., 1:]
    return vector + 2 * np.cross(u, np.cross(u, vector) + w * vector)


def coordinates(
    data: dict[str, np.ndarray], joint_q: np.ndarray, joint_qd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Our q (B, nq) and qd (B, nv) for Rewarped's joint_q and joint_qd, flat over environments."""
    q, qd = per_env(data, joint_q.astype(float)), per_env(data, joint_qd.astype(float))
    if data["model_joint_type"][0] == 4:
        q, qd = q.copy(), qd.copy()
        q[:, 3:7] = q[:, [6, 3, 4, 5]]
        angular, linear = qd[:, :3].copy(), qd[:, 3:6].copy()
        qd[:, :3], qd[:, 3:6] = linear + np.cross(angular, q[:, :3]), angular
    return q, qd


def accelerations(
    data: dict[str, np.ndarray], q: np.ndarray, qd: np.ndarray, joint_qdd: np.ndarray
) -> np.ndarray:
    """Derivative of our qd for Rewarped's joint_qdd, at our (q, qd)."""
    qdd = per_env(data, joint_qdd.astype(float))
    if data["model_joint_type"][0] == 4:
        qdd = qdd.copy()
        angular, linear = qdd[:, :3].copy(), qdd[:, 3:6].copy()
        # because v = v_origin + w x p and p' = v
        qdd[:, :3] = linear + np.cross(angular, q[:, :3]) + np.cross(qd[:, 3:6], qd[:, :3])
        qdd[:, 3:6] = angular
    return qdd


def mass_matrices(data: dict[str, np.ndarray], q: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Rewarped's mass matrix H (without armature) for our velocities, (B, nv, nv)."""
    n = len(per_env(data, data["model_joint_armature"])[0])
    h = flat.astype(float).reshape(-1, n, n)
    if data["model_joint_type"][0] != 4:
        return h
    x = to_twist(q, n)
    return x.swapaxes(-1, -2) @ h @ x


def replay(
    data: dict[str, np.ndarray],
    simulator: Articulated,
    q: np.ndarray,
    qd: np.ndarray,
    actions: np.ndarray,
    *,
    refresh: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Rewarped's integrator with our forces, in float64.

    Rewarped computes the mass matrix only in the first substep of a control step and keeps it in
    its own coordinates. With `refresh`, it is computed in every substep, as in our simulator.

    Returns:
        q (T, B, nq) and qd (T, B, nv) after each control step.
    """
    free, dt = data["model_joint_type"][0] == 4, float(data["const_sim_dt"])
    states = []
    for action in actions:
        held = None
        for _ in range(int(data["const_substeps"])):
            state = ArticulatedState(jnp.asarray(q, jnp.float32), jnp.asarray(qd, jnp.float32))
            mass = simulator.mass_matrix(state).astype(float)
            force = -simulator.bias(state).astype(float)
            force[:, simulator.model.actuators.dof] += simulator.model.actuators.gear * action
            # twist = X qd, so its derivative is X' qd + X qdd
            x = to_twist(q, mass.shape[-1]) if free else np.eye(mass.shape[-1])[None]
            back = np.linalg.inv(x)
            theirs = back.swapaxes(-1, -2) @ mass @ back
            held = theirs if held is None or refresh else held
            drift = np.zeros_like(qd)
            if free:
                drift[:, 3:6] = -np.cross(qd[:, 3:6], qd[:, :3])
            load = _apply(back.swapaxes(-1, -2), force) + _apply(theirs, drift)
            twist = _apply(x, qd) + dt * np.linalg.solve(held, load[..., None])[..., 0]
            q, qd = _advance(q, twist, dt) if free else (q + dt * twist, twist)
        states.append((q, qd))
    return tuple(np.stack(part) for part in zip(*states, strict=True))


def to_twist(q: np.ndarray, n: int) -> np.ndarray:
    """Matrix X (B, nv, nv) from our velocities to Rewarped's: (w, v - w x p, ...) = X (v, w,
    ...)."""
    x = np.tile(np.eye(n), (len(q), 1, 1))
    x[:, :6, :6] = 0
    x[:, 0:3, 3:6] = x[:, 3:6, 0:3] = np.eye(3)
    x[:, 3:6, 3:6] = np.cross(np.eye(3), q[:, None, :3])
    return x


def _apply(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return (matrix @ vector[..., None])[..., 0]


def _advance(q: np.ndarray, twist: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates after dt with a constant twist, and our velocity there; the first joint is
    FREE."""
    w, r = twist[:, :3], q[:, 3:7]
    spin = np.concatenate(
        [-np.sum(w * r[:, 1:], 1, keepdims=True), r[:, :1] * w + np.cross(w, r[:, 1:])], axis=1
    )
    r = r + dt / 2 * spin
    position = q[:, :3] + dt * (twist[:, 3:6] + np.cross(w, q[:, :3]))
    q = np.concatenate(
        [position, r / np.linalg.norm(r, axis=1, keepdims=True), q[:, 7:] + dt * twist[:, 6:]], 1
    )
    return q, _apply(np.linalg.inv(to_twist(q, twist.shape[1])), twist)
