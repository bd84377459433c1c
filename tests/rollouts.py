"""Rollouts of articulated models and their adjoints in NumPy, without compilation, in any
precision."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from oracle import actuated_tree, corded_tree, motion, random_state, random_tree
from rfo.physics.articulated import ArticulatedKernels
from rfo.physics.host import Plan
from rfo.physics.lengths import Actuators, Length, Lengths
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Joint, Model


def motors(dof: np.ndarray, gear: np.ndarray) -> Actuators:
    """Motors with a gear [N or N m] on one degree of freedom each, their controls in [-1, 1]."""
    n = len(dof)
    free = np.tile([-np.inf, np.inf], (n, 1))
    return Actuators(
        names=tuple(f"actuator {i}" for i in range(n)),
        lengths=Lengths.of([Length([(int(j), float(g))]) for j, g in zip(dof, gear, strict=True)]),
        gain=np.tile([1.0, 0.0, 0.0], (n, 1)),
        bias=np.zeros((n, 3)),
        force_range=free,
        control_range=np.tile([-1.0, 1.0], (n, 1)),
        dynamics=np.zeros(n, np.int32),
        time_constant=np.ones(n),
        activation_range=free,
        early=np.zeros(n, bool),
    )


class Inputs(NamedTuple):
    """Start of a rollout, q (B, nq + na) and qd (B, nv), and its controls (T, B, nu)."""

    q: np.ndarray
    qd: np.ndarray
    controls: np.ndarray


class Rollout:
    """B copies of a model; the result of a rollout is a random smooth function of all its
    states."""

    def __init__(self, model: Model, envs: int, dt: float, substeps: int, dtype=np.float64):
        self.model = model
        self.dtype = np.dtype(dtype)
        kernels = ArticulatedKernels(model, dt / substeps, substeps, self.dtype)
        self._plan = Plan(kernels, envs, threads=1)
        rng = np.random.default_rng(7)
        self._of_q, self._of_qd = (rng.normal(size=n) for n in kernels.output_widths)

    def step(
        self, q: np.ndarray, qd: np.ndarray, control: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        q, qd = self._plan.forward(*self._cast(q, qd, control))
        return q, qd

    def states(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """q (T, B, nq) and qd (T, B, nv) after each step."""
        q, qd, states = inputs.q, inputs.qd, []
        for control in inputs.controls:
            q, qd = self.step(q, qd, control)
            states.append((q, qd))
        qs, qds = zip(*states, strict=True)
        return np.stack(qs), np.stack(qds)

    def result(self, inputs: Inputs) -> np.ndarray:
        """Result of each environment's rollout, (B,)."""
        q, qd = (x.astype(np.float64) for x in self.states(inputs))
        return (np.sin(q) @ self._of_q + np.sin(qd) @ self._of_qd).sum(0)

    def gradient(self, inputs: Inputs) -> Inputs:
        """Gradient of each environment's result, by the adjoint."""
        q, qd, operands = inputs.q, inputs.qd, []
        for control in inputs.controls:
            before = self._cast(q, qd, control)
            q, qd = self._plan.forward(*before)
            operands.append((*before, q, qd))
        g_q, g_qd, g_controls = np.zeros_like(q), np.zeros_like(qd), []
        for *known, q, qd in reversed(operands):
            cotangents = self._cast(g_q + self._of_q * np.cos(q), g_qd + self._of_qd * np.cos(qd))
            g_q, g_qd, g_control = self._plan.adjoint(*known, *cotangents)
            g_controls.append(g_control)
        return Inputs(g_q, g_qd, np.stack(g_controls[::-1]))

    def _cast(self, *arrays: np.ndarray) -> list[np.ndarray]:
        return [np.asarray(x, self.dtype) for x in arrays]


@cache
def shipped(name: str) -> Model:
    """A model of the package, with contact and joint limits."""
    text = files("rfo.envs").joinpath(f"assets/{name}.xml").read_text()
    return load(text, ContactParameters(4e4, 1e3, 1e3, 0.75), limit_ke=1e3, limit_kd=1e1)


LOWERED = {
    "ant": (2, 0.35),
    "hopper": (1, 0.1),
    "cheetah": (1, 0.1),
    "humanoid": (2, 0.1),
    "cartpole": (0, 0.0),
}
"""Index of the height's coordinate, and the distance by which it is lowered [m]."""


def shipped_inputs(name: str, envs: int, steps: int) -> Inputs:
    """Inputs near the reference pose, low enough to be in contact with the ground."""
    model, rng = shipped(name), np.random.default_rng(3)
    q = model.q0 + 0.2 * rng.uniform(-1, 1, (envs, model.nq))
    coordinate, depth = LOWERED[name]
    q[:, coordinate] -= depth
    return Inputs(
        q, rng.uniform(-0.5, 0.5, (envs, model.nv)), rng.uniform(-0.5, 0.5, (steps, envs, model.nu))
    )


def tree(seed: int) -> Model:
    """A random forest with all joint types, motors, limits and soft contact with a tilted
    ground."""
    rng = np.random.default_rng(seed)
    model = load(random_tree(seed), ContactParameters(0, 0, 0, 0))
    normal = rng.normal(size=3)
    contacts = 6
    return replace(
        model,
        limit_lower=rng.uniform(-1, 0, model.nv),
        limit_upper=rng.uniform(0, 1, model.nv),
        limit_ke=rng.uniform(5, 20, model.nv),
        limit_kd=rng.uniform(0, 1, model.nv),
        actuators=motors(np.arange(model.nv), rng.uniform(0.5, 2, model.nv)),
        contact_link=rng.integers(0, model.links, contacts),
        contact_pos=rng.normal(size=(contacts, 3)) * 0.3,
        contact_radius=rng.uniform(0, 0.2, contacts),
        contact_ke=rng.uniform(50, 100, contacts),
        contact_kd=rng.uniform(1, 5, contacts),
        contact_kf=rng.uniform(5, 10, contacts),
        contact_mu=rng.uniform(0.3, 0.9, contacts),
        contact_kh=rng.uniform(0, 20, contacts),
        ground_normal=normal / np.linalg.norm(normal),
        ground_height=0.1,
    )


@cache
def actuated(seed: int, cords: bool = False) -> Model:
    """A random tree with all that acts along lengths, or along cords, and soft contact with a
    tilted ground."""
    text = (corded_tree if cords else actuated_tree)(seed)
    bare, read = tree(seed), load(text, ContactParameters(0, 0, 0, 0))
    return replace(
        bare,
        cords=read.cords,
        actuators=read.actuators,
        tendons=read.tendons,
        couplings=read.couplings,
        armature=read.armature,
    )


def tree_inputs(model: Model, envs: int, steps: int) -> Inputs:
    """Random states with quaternions of any length; about half of the contact spheres touch the
    ground."""
    rng = np.random.default_rng(5)
    q, qd = (
        np.stack(x) for x in zip(*(random_state(model, rng) for _ in range(envs)), strict=True)
    )
    for start, kind in zip(model.q_start, model.joint, strict=True):
        if kind in (Joint.FREE, Joint.BALL):
            first = start + 3 * (kind == Joint.FREE)
            q[:, first : first + 4] *= rng.uniform(0.5, 2, (envs, 1))
    act = 0.3 * rng.normal(size=(envs, model.na))
    controls = rng.normal(size=(steps, envs, model.nu))
    return Inputs(np.concatenate([q, act], axis=1), qd, controls)


def touching(model: Model, q: np.ndarray) -> np.ndarray:
    """Number of contact spheres in the ground, for coordinates (..., nq) with unit quaternions."""
    return np.apply_along_axis(lambda x: (depths(model, x) > 0).sum(), -1, q)


def depths(model: Model, q: np.ndarray) -> np.ndarray:
    """Depth of each contact sphere in the ground [m], (C,)."""
    m = motion(model, q, np.zeros(model.nv))
    turned = np.einsum("cij,cj->ci", m.rot[model.contact_link], model.contact_pos)
    height = (m.pos[model.contact_link] + turned) @ model.ground_normal
    return model.contact_radius - height + model.ground_height


EPS = 1e-6
"""Step size of differences in double precision."""


def directional(
    rollout: Rollout, inputs: Inputs, name: str, eps: float = EPS
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives (B,) of the results along a random direction of one input: by adjoint, by
    differences."""
    x = getattr(inputs, name)
    direction = np.random.default_rng(0).choice([-1.0, 1.0], x.shape)
    axes = (0, 2) if name == "controls" else 1
    adjoint = (getattr(rollout.gradient(inputs), name) * direction).sum(axes)
    above, below = (
        rollout.result(inputs._replace(**{name: x + s * eps * direction})) for s in (1, -1)
    )
    return adjoint, (above - below) / (2 * eps)


def assert_matches_differences(
    rollout: Rollout, inputs: Inputs, names=Inputs._fields, eps: float = EPS
):
    for name in names:
        adjoint, differences = directional(rollout, inputs, name, eps)
        scale = np.abs(adjoint) + 1e-2 * np.abs(adjoint).max()
        assert np.all(scale > 0), "a gradient that is zero everywhere proves nothing"
        error = np.abs(adjoint - differences) / scale
        # A step across a kink of the contact law spoils a difference, so a few environments may
        # fail.
        assert np.median(error) < 1e-6 and np.mean(error < 1e-4) >= 0.9, (name, error)
