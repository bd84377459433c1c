"""What acts along lengths in an MJCF file: actuators."""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco
import numpy as np

from rfo.errors import SettingError
from rfo.physics.lengths import Actuators, Lengths, Terms
from rfo.physics.mjcf.support import name_of
from rfo.physics.model import Joint

FREE_RANGE = (-np.inf, np.inf)


def actuators(m: mujoco.MjModel) -> Actuators:
    """Those of a model that `refuse_unsupported` has passed.

    Raises:
        SettingError: for one that has no counterpart, by name.
    """
    gain, bias = m.actuator_gainprm[:, :3].copy(), m.actuator_biasprm[:, :3].copy()
    gain[m.actuator_gaintype == mujoco.mjtGain.mjGAIN_FIXED, 1:] = 0
    bias[m.actuator_biastype == mujoco.mjtBias.mjBIAS_NONE] = 0
    return Actuators(
        names=tuple(name_of(m, "actuator", i) for i in range(m.nu)),
        lengths=Lengths.of([_transmission(m, i) for i in range(m.nu)]),
        gain=gain,
        bias=bias,
        force_range=_ranges(m.actuator_forcerange, m.actuator_forcelimited),
        control_range=_ranges(m.actuator_ctrlrange, m.actuator_ctrllimited),
        dynamics=m.actuator_dyntype.astype(np.int32),
        time_constant=np.maximum(m.actuator_dynprm[:, 0], mujoco.mjMINVAL),
        activation_range=_ranges(m.actuator_actrange, m.actuator_actlimited),
        early=m.actuator_actearly.astype(bool),
    )


def _ranges(ranges: np.ndarray, limited: np.ndarray) -> np.ndarray:
    return np.where(limited.astype(bool)[:, None], ranges, FREE_RANGE)


def _transmission(m: mujoco.MjModel, actuator: int) -> Terms:
    """The length of an actuator, times its gear."""
    kind, target = m.actuator_trntype[actuator], m.actuator_trnid[actuator, 0]
    gear, name = m.actuator_gear[actuator], name_of(m, "actuator", actuator)
    first, joint = m.jnt_dofadr[target], m.jnt_type[target]
    if joint in (Joint.SLIDE, Joint.HINGE):
        return [(first, gear[0])]
    if m.actuator_gainprm[actuator, 1] or m.actuator_biasprm[actuator, 1]:
        raise SettingError(f"actuator '{name}': a position servo needs a slide or a hinge")
    # our angular velocity is in the world's axes on a free joint, in the link's own on a ball
    in_world = kind == mujoco.mjtTrn.mjTRN_JOINTINPARENT
    turns = gear[3:6] if joint == Joint.FREE else gear[:3]
    if turns.any() and in_world != (joint == Joint.FREE):
        raise SettingError(
            f"actuator '{name}': a torque on a free joint must be in the axes of the world"
            " (jointinparent), one on a ball in those of its body (joint)"
        )
    dofs = 6 if joint == Joint.FREE else 3
    return [(first + i, gear[i]) for i in range(dofs) if gear[i]]
