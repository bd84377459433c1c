"""MuJoCo as the judge of a policy: its contact, its constraint solver and its integrator.

`in_mujoco` gives a task the mujoco package for a simulator. Observations, actions, reward and
starts stay the task's own, so that a policy which lives on the contact law that it was trained
with shows here.
"""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import mujoco
import numpy as np
from mujoco.rollout import Rollout

from rfo.envs.base import Environment
from rfo.envs.randomise import Randomised
from rfo.errors import SettingError
from rfo.physics.articulated import Articulated, S
from rfo.physics.articulated_parameters import ArticulatedParameters
from rfo.physics.bridge import Bridge
from rfo.physics.host import available_threads
from rfo.physics.kinematics import mujoco_velocities
from rfo.physics.mjcf.parse import compiled
from rfo.physics.model import Model
from rfo.physics.stream import Stream
from rfo.types import Array

E = TypeVar("E", bound=Environment)


def in_mujoco(task: E, threads: int | None = None) -> E:
    """The task with MuJoCo for a simulator; a randomised one without its randomisation.

    Args:
        task: a task whose `simulator` is an `Articulated`, read from an MJCF file.
        threads: CPU threads; None: all.

    Raises:
        SettingError: for a task without rigid bodies, or whose model is from no file.
    """
    if isinstance(task, Randomised):
        return in_mujoco(task.task, threads)  # pyright: ignore[reportReturnType]
    ours: Any = getattr(task, "simulator", None)
    if not isinstance(ours, Articulated) or not ours.model.source:
        raise SettingError(
            f"MuJoCo cannot judge {task.spec.name}, which is no robot of an MJCF file: take "
            "another task, or leave --physics away",
            "physics",
        )
    judged: Any = copy.copy(task)
    judged.simulator = MuJoCo(ours, threads)
    return judged


class MuJoCo(Articulated):
    """A model that the mujoco package advances, on the CPU and without a gradient.

    States and controls are those of `Articulated`. The time step is the file's, or the next shorter
    one that divides a control step. The solver starts afresh at each control step, so that the
    next state is a function of state and control.

    Args:
        ours: the simulator that it stands in for.
        threads: CPU threads; None: all.

    Raises:
        SettingError: if the file is not valid MJCF any more.
    """

    def __init__(self, ours: Articulated, threads: int | None = None):
        super().__init__(ours.model, ours.dt, ours.substeps, dtype=ours.dtype)
        self.mjcf = model_of(ours.model)
        """MuJoCo's own model."""
        self.our_substeps = ours.substeps
        self.substeps = int(np.ceil(ours.dt / self.mjcf.opt.timestep - 1e-6))
        self.mjcf.opt.timestep = ours.dt / self.substeps
        steps = Steps(self.mjcf, ours.model, self.substeps, threads or available_threads())
        self._bridge = MuJoCoBridge(self.kernels, steps)

    def step(self, state: S, control: Array, parameters: ArticulatedParameters | None = None) -> S:
        """Advance by one control step under a constant control, in the units of its actuators.

        Raises:
            SettingError: for parameters: MuJoCo moves the robot of the file.
            ValueError: if an array has another shape.
            TypeError: if an array has another dtype.
        """
        if parameters is not None:
            raise SettingError("MuJoCo moves the robot of the file, without other parameters")
        return super().step(state, control)


def model_of(model: Model) -> mujoco.MjModel:
    """MuJoCo's model of the file that a model was read from, with the model's joint axes.

    (The task `humanoid` changes them after reading.) A state that is not finite stays so.
    """
    m = compiled(model.source)
    if not np.array_equal(m.jnt_axis, model.axis):
        m.jnt_axis[:] = model.axis
        mujoco.mj_setConst(m, mujoco.MjData(m))
    m.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET.value
    return m


def differences(judge: MuJoCo) -> list[str]:
    """What MuJoCo computes in another way than our simulator, a line each."""
    model, m = judge.model, judge.mjcf
    kind = mujoco.mjtIntegrator(m.opt.integrator).name.removeprefix("mjINT_").lower()
    ours, theirs = (1e3 * judge.dt / n for n in (judge.our_substeps, judge.substeps))
    lines = [
        f"integration: semi-implicit Euler of {ours:.3g} ms; MuJoCo: {kind} of {theirs:.3g} ms"
    ]
    laws = np.concatenate([model.contact_law, model.supports.law, model.pairs.law])
    if len(laws):
        ke, kd, kf, mu, kh = map(_span, laws.T)
        geoms = (m.geom_contype | m.geom_conaffinity) > 0
        cone = mujoco.mjtCone(m.opt.cone).name.removeprefix("mjCONE_").lower()
        lines += [
            f"contact: a spring of {ke} N/m and a damper of {kd} N s/m + {kh} N s/m^2; MuJoCo: "
            f"solref {_rows(m.geom_solref[geoms])}, solimp {_rows(m.geom_solimp[geoms])}",
            f"friction: {mu}, viscous with {kf} N s/m at slow sliding; MuJoCo: "
            f"{_span(m.geom_friction[geoms, 0])}, {cone} cone",
        ]
    limited = np.isfinite(model.limit_lower) | np.isfinite(model.limit_upper)
    if limited.any():
        ke, kd = _span(model.limit_ke[limited]), _span(model.limit_kd[limited])
        lines.append(
            f"joint limits: a spring of {ke} N m/rad and a damper of {kd} N m s/rad; MuJoCo: "
            f"solref {_rows(m.jnt_solref[m.jnt_limited > 0])}"
        )
    return [*lines, *model.notes]


def _span(values: np.ndarray) -> str:
    """One number, or the smallest and the largest."""
    low, high = (f"{x:.3g}" for x in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _rows(values: np.ndarray) -> str:
    """Different rows, at most two of them."""
    rows = [" ".join(f"{x:.3g}" for x in row) for row in np.unique(values, axis=0)]
    return " or ".join(rows[:2]) + (" and others" if len(rows) > 2 else "")


class MuJoCoBridge(Bridge):
    """The bridge to MuJoCo: its `kernels` only say the sizes of states and controls."""

    def __init__(self, kernels: Any, steps: Steps):
        super().__init__(kernels)
        self.steps = steps

    def plan(self, envs: int) -> Steps:
        """How the CPU advances a batch."""
        return self.steps

    def stream(self, envs: int) -> Stream:
        """Refuses other devices.

        Raises:
            SettingError: naming the variable to set.
        """
        raise SettingError("MuJoCo runs on the CPU: set JAX_PLATFORMS=cpu", "physics")


class Steps:
    """A control step of a batch in MuJoCo, from NumPy arrays to NumPy arrays.

    Args:
        m: MuJoCo's model.
        model: ours of the same file.
        substeps: of a control step.
        threads: CPU threads.
    """

    def __init__(self, m: mujoco.MjModel, model: Model, substeps: int, threads: int):
        self._m, self._model, self._substeps = m, model, substeps
        self._data = [mujoco.MjData(m) for _ in range(threads)]
        self._rollout = Rollout(nthread=threads if threads > 1 else 0)

    def forward(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Coordinates with activations behind them, velocities and controls to the first two."""
        q, qd, control = inputs
        nq, nv = self._m.nq, self._m.nv
        act, velocities = q[:, nq:], mujoco_velocities(self._model, q, qd)
        before = np.concatenate([np.zeros((len(q), 1)), q[:, :nq], velocities, act], axis=-1)
        steps = np.repeat(control[:, None].astype(float), self._substeps, axis=1)
        with _quiet():
            states, _ = self._rollout.rollout(self._m, self._data, before, steps)
        after = np.asarray(states)[:, -1]
        # a rollout stops where something is not finite or huge, and its clock with it
        after[after[:, 0] < (self._substeps - 0.5) * self._m.opt.timestep] = np.nan
        place, velocity, act = np.split(after[:, 1:], [nq, nq + nv], axis=-1)
        ours = mujoco_velocities(self._model, place, velocity, back=True)
        return tuple(x.astype(q.dtype) for x in (np.concatenate([place, act], axis=-1), ours))

    def adjoint(self, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        """Refused.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("MuJoCo's steps have no gradient here: train in rfo's physics")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without MuJoCo's warnings, which it writes to a file: environments that are not finite are
    counted by the batch."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)
