"""How far the motion of an imported robot is from that of the mujoco package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from rfo.physics.articulated import Articulated
from rfo.physics.lengths import NO_COUPLINGS
from rfo.physics.model import Joint, Model
from rfo.physics.pairs import NO_PAIRS
from rfo.physics.reference import stable_step
from rfo.physics.supports import NO_SUPPORTS
from rfo.physics.welds import NO_WELDS

SMOOTH = 0.5
"""Time of the motion without contact [s]."""
SMOOTH_STEP = 2e-4
"""Its time step, for both [s]."""
SETTLING = 3.0
"""Time in which a robot comes to rest on the ground [s]."""
LARGE = 200
"""Degrees of freedom and pairs of geoms from which on the motion on the ground takes too long."""
INSTANT = 1e-9
"""Time step whose change of velocity is an acceleration [s]."""


def judge(path: Path, model: Model) -> dict[str, float]:
    """Differences from MuJoCo.

    Returns:
        `mass`: of the mass matrix, relative to its largest entry;
        `acceleration`: from all smooth forces (bias, passive, actuators), relative to the largest;
        `position`: of any coordinate after `SMOOTH` of motion without contact [m, rad];
        `rest`: of the height of the centre of mass after `SETTLING`, under no control, relative
        to the size of the robot; left out where no joint is free or there is no ground.
    """
    m = mujoco.MjModel.from_xml_path(str(path))
    m.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONSTRAINT.value
    bare = without_constraints(model)
    q, qd, control = _state(m, bare)
    found = {
        "mass": _mass(m, bare, q, qd),
        "acceleration": _acceleration(m, bare, q, qd, control),
        "position": _position(m, bare, q, control),
    }
    if (
        model.joint[0] == Joint.FREE
        and len(model.contact_link)
        and model.nv + len(model.pairs.link) < LARGE
    ):
        found["rest"] = _rest(mujoco.MjModel.from_xml_path(str(path)), model)
    return found


def without_constraints(model: Model) -> Model:
    """The model without contacts, limits, dry friction and equalities."""
    contacts = {
        name: getattr(model, name)[:0] for name in vars(model) if name.startswith("contact_")
    }
    tendons = model.tendons
    slack = np.full(len(tendons.friction), np.inf)
    free = np.full(model.nv, np.inf)
    return replace(
        model,
        limit_lower=-free,
        limit_upper=free,
        supports=NO_SUPPORTS,
        pairs=NO_PAIRS,
        couplings=NO_COUPLINGS,
        welds=NO_WELDS,
        tendons=replace(
            tendons, friction=0 * tendons.friction, limit_lower=-slack, limit_upper=slack
        ),
        **contacts,
    )


def _state(m: mujoco.MjModel, model: Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random state near the reference pose, and controls within their ranges."""
    rng = np.random.default_rng(0)
    q = model.q0 + 0.1 * rng.normal(size=model.nq)
    mujoco.mj_normalizeQuat(m, q)
    low, high = np.nan_to_num(model.actuators.control_range, posinf=1, neginf=-1).T
    return q, 0.1 * rng.normal(size=model.nv), rng.uniform(0.75 * low, 0.75 * high)


def _turn(model: Model, q: np.ndarray) -> np.ndarray:
    """Matrix from our velocities to MuJoCo's, whose free joints spin in the body's axes."""
    turn = np.eye(model.nv)
    for link in np.flatnonzero(model.joint == Joint.FREE):
        axes, start = np.empty(9), model.v_start[link] + 3
        mujoco.mju_quat2Mat(axes, q[model.q_start[link] + 3 :][:4])
        turn[start : start + 3, start : start + 3] = axes.reshape(3, 3).T
    return turn


def _data(m: mujoco.MjModel, model: Model, q: np.ndarray, qd: np.ndarray) -> mujoco.MjData:
    data = mujoco.MjData(m)
    data.qpos[:], data.qvel[:] = q, _turn(model, q) @ qd
    return data


def _mass(m: mujoco.MjModel, model: Model, q: np.ndarray, qd: np.ndarray) -> float:
    data, theirs, turn = _data(m, model, q, qd), np.zeros((m.nv, m.nv)), _turn(model, q)
    mujoco.mj_forward(m, data)
    mujoco.mj_fullM(m, data, theirs)
    simulator = Articulated(model, INSTANT, 1, dtype=np.float64)
    ours = simulator.mass_matrix(simulator.init(1)._replace(q=q[None], qd=qd[None]))[0]
    theirs = turn.T @ theirs @ turn
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def _acceleration(
    m: mujoco.MjModel, model: Model, q: np.ndarray, qd: np.ndarray, control: np.ndarray
) -> float:
    data = _data(m, model, q, qd)
    data.ctrl[:] = control
    mujoco.mj_forward(m, data)
    theirs = np.linalg.solve(_turn(model, q), data.qacc)
    simulator = Articulated(model, INSTANT, 1, dtype=np.float64)
    state = simulator.init(1)._replace(q=jnp.asarray(q)[None], qd=jnp.asarray(qd)[None])
    after = simulator.step(state, jnp.asarray(control)[None])
    ours = (np.asarray(after.qd)[0] - qd) / INSTANT
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-9))


def _position(m: mujoco.MjModel, model: Model, q: np.ndarray, control: np.ndarray) -> float:
    steps = round(SMOOTH / SMOOTH_STEP)
    m.opt.timestep, m.opt.integrator = SMOOTH_STEP, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    data = _data(m, model, q, np.zeros(model.nv))
    data.ctrl[:] = control
    for _ in range(steps):
        mujoco.mj_step(m, data)
    simulator = Articulated(model, SMOOTH, steps, dtype=np.float64)
    start = simulator.init(1)._replace(q=jnp.asarray(q)[None])
    ours = np.asarray(simulator.step(start, jnp.asarray(control)[None]).q)[0]
    return float(np.abs(ours - data.qpos).max())


def _rest(m: mujoco.MjModel, model: Model) -> float:
    start = next(iter(model.keyframes.values()), model.q0)
    step = min(0.005, stable_step(model))
    data = _data(m, model, start, np.zeros(model.nv))
    mujoco.mj_forward(m, data)
    size = max(np.linalg.norm(data.xipos[1:] - data.subtree_com[1], axis=1).max(), 1e-3)
    while data.time < SETTLING:
        mujoco.mj_step(m, data)
    substeps = int(np.ceil(0.1 / step))
    simulator = Articulated(model, 0.1, substeps, dtype=np.float64)
    state = simulator.init(1)._replace(q=jnp.asarray(start)[None])
    advance = jax.jit(simulator.step)
    for _ in range(round(SETTLING / 0.1)):
        state = advance(state, jnp.zeros((1, model.nu)))
    ours = _data(m, model, np.asarray(state.q)[0], np.zeros(model.nv))
    mujoco.mj_forward(m, ours)
    mujoco.mj_forward(m, data)
    return float(abs(ours.subtree_com[1, 2] - data.subtree_com[1, 2]) / size)
