"""Reference trajectories recorded from Rewarped 1.3.3: its constants as a `Model`, its coordinates as ours.

Rewarped has y up, quaternions (x, y, z, w), and for a FREE joint the twist (angular, linear) of the
point that passes through the origin of its joint's frame. Environments of a file are stacked as B.
"""

from __future__ import annotations

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.model import Joint, Model

FOLDER = Path(os.environ.get("RFO_GOLDEN") or Path(__file__).parents[2] / "shared" / "golden")

JOINTS = {0: Joint.SLIDE, 1: Joint.HINGE, 4: Joint.FREE}
SPHERE, BOX, CAPSULE, PLANE = 0, 1, 2, 7


def recorded(task: str) -> dict[str, np.ndarray]:
    """All arrays of a task's file; skips the test where the file is absent."""
    path = FOLDER / f"{task}_a.npz"
    if not path.is_file():
        pytest.skip(f"no reference trajectories at {path} (set RFO_GOLDEN to their folder)")
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def per_env(data: dict[str, np.ndarray], values: np.ndarray) -> np.ndarray:
    """Split the first axis, flat over environments, into (B, n)."""
    return values.reshape(int(data["const_num_envs"]), -1, *values.shape[1:])


def model(data: dict[str, np.ndarray]) -> Model:
    """One environment of the recorded model, y up, with actions in [-1, 1] as controls."""
    links = len(per_env(data, data["model_body_mass"])[0])
    joint = np.array([JOINTS[int(t)] for t in data["model_joint_type"][:links]])
    free = joint == Joint.FREE
    assert np.all(data["model_joint_X_c"][:, :3] == 0) and np.all(data["model_joint_X_c"][:, 6] == 1)
    frames = data["model_joint_X_p"][:links].astype(float)
    # the frame of a FREE joint is a shift of its coordinates only, along the ground
    frames[free] = [0, 0, 0, 0, 0, 0, 1]

    scalar = np.repeat(~free, np.where(free, 6, 1))
    axis = np.zeros((links, 3))
    axis[~free] = data["model_joint_axis"][: np.sum(~free)]

    def spread(name: str, elsewhere: float) -> np.ndarray:
        """An array over SLIDE and HINGE degrees of freedom, in all degrees of freedom."""
        values = np.full(len(scalar), elsewhere)
        values[scalar] = data[name][: np.sum(scalar)]
        return values

    sign = -1.0 if free.any() else 1.0  # Rewarped's ant negates its actions
    controls = np.flatnonzero(scalar)[: int(data["const_num_act"])]
    return Model(
        parent=data["model_joint_parent"][:links],
        joint=joint,
        pos=frames[:, :3],
        quat=frames[:, [6, 3, 4, 5]],
        axis=axis,
        mass=data["model_body_mass"][:links].astype(float),
        com=data["model_body_com"][:links].astype(float),
        inertia=data["model_body_inertia"][:links].astype(float),
        q0=coordinates(data, data["model_joint_q"], data["model_joint_qd"])[0][0],
        armature=data["model_joint_armature"][: len(scalar)].astype(float),
        damping=np.zeros(len(scalar)),  # its joint damping does nothing in force mode
        stiffness=np.zeros(len(scalar)),
        spring_reference=np.zeros(len(scalar)),
        limit_lower=spread("model_joint_limit_lower", -np.inf),
        limit_upper=spread("model_joint_limit_upper", np.inf),
        limit_ke=spread("model_joint_limit_ke", 0.0),
        limit_kd=spread("model_joint_limit_kd", 0.0),
        control_dof=controls,
        control_gear=np.full(len(controls), sign * float(data["const_action_scale"])),
        **_contact_spheres(data, links),
        gravity=data["const_gravity"],
        ground_normal=data["const_ground_plane"][:3].astype(float),
        ground_height=0.0,
        link_names=tuple(data["names_body"][:links]),
        dof_names=tuple(str(i) for i in range(len(scalar))),
    )


def _contact_spheres(data: dict[str, np.ndarray], links: int) -> dict[str, np.ndarray]:
    """Spheres and ends of capsules, with the mean of their constants and the ground's."""
    ground = len(data["model_shape_body"]) - 1
    touching = {int(shape) for shape, _ in data["model_shape_ground_contact_pairs"]}
    rows = []
    for shape in sorted(touching):
        body, kind = int(data["model_shape_body"][shape]), int(data["model_shape_geo_type"][shape])
        if body >= links or kind == BOX:  # the cart and its pole never come near the ground
            continue
        half = data["model_shape_geo_scale"][shape, 1] if kind == CAPSULE else 0.0
        transform = data["model_shape_transform"][shape].astype(float)
        for end in (-half, half) if kind == CAPSULE else (0.0,):
            centre = transform[:3] + rotate(transform[[6, 3, 4, 5]], np.array([0, end, 0]))
            rows.append((shape, body, centre))
    shapes = [shape for shape, _, _ in rows]
    thickness = data["model_shape_geo_thickness"].astype(float)
    constants = {k: data[f"model_shape_mat_{k}"].astype(float) for k in ("ke", "kd", "kf", "mu")}
    return {
        "contact_link": np.array([body for _, body, _ in rows], int),
        "contact_pos": np.array([centre for _, _, centre in rows]).reshape(-1, 3),
        "contact_radius": thickness[shapes],
        **{f"contact_{k}": (values[shapes] + values[ground]) / 2 for k, values in constants.items()},
    }


def rotate(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Rotate vectors by quaternions (w, x, y, z), over leading axes."""
    w, u = quat[..., :1], quat[..., 1:]
    return vector + 2 * np.cross(u, np.cross(u, vector) + w * vector)


def coordinates(
    data: dict[str, np.ndarray], joint_q: np.ndarray, joint_qd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rewarped's joint_q and joint_qd (flat over environments) as ours, q (B, nq) and qd (B, nv)."""
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
    """Rewarped's joint_qdd as the derivative of our qd, at our (q, qd)."""
    qdd = per_env(data, joint_qdd.astype(float))
    if data["model_joint_type"][0] == 4:
        qdd = qdd.copy()
        angular, linear = qdd[:, :3].copy(), qdd[:, 3:6].copy()
        # v = v_origin + w x p and p' = v
        qdd[:, :3] = linear + np.cross(angular, q[:, :3]) + np.cross(qd[:, 3:6], qd[:, :3])
        qdd[:, 3:6] = angular
    return qdd


def mass_matrices(data: dict[str, np.ndarray], q: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Rewarped's H (without armature) in our velocities, (B, nv, nv)."""
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
    """Rewarped's integrator on our forces, in float64: q (T, B, nq), qd (T, B, nv) after each control step.

    Rewarped computes the mass matrix at the first substep of a control step only, and keeps it in its own
    coordinates. With `refresh` it is computed at every substep, as in our simulator.
    """
    free, dt = data["model_joint_type"][0] == 4, float(data["const_sim_dt"])
    states = []
    for action in actions:
        held = None
        for _ in range(int(data["const_substeps"])):
            state = ArticulatedState(jnp.asarray(q, jnp.float32), jnp.asarray(qd, jnp.float32))
            mass = simulator.mass_matrix(state).astype(float)
            force = -simulator.bias(state).astype(float)
            force[:, simulator.model.control_dof] += simulator.model.control_gear * action
            # twist = X qd, so X' qd + X qdd is its derivative
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
    """X (B, nv, nv) with Rewarped's (w, v - w x p, ...) = X (v, w, ...)."""
    x = np.tile(np.eye(n), (len(q), 1, 1))
    x[:, :6, :6] = 0
    x[:, 0:3, 3:6] = x[:, 3:6, 0:3] = np.eye(3)
    x[:, 3:6, 3:6] = np.cross(np.eye(3), q[:, None, :3])
    return x


def _apply(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return (matrix @ vector[..., None])[..., 0]


def _advance(q: np.ndarray, twist: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates after dt under a constant twist, and our velocity there; a FREE joint comes first."""
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
