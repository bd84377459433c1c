"""What `rfo.physics.mjcf` can import, and the messages for what it cannot."""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco
import numpy as np

from rfo.physics.model import Joint

SHAPES = {
    mujoco.mjtGeom.mjGEOM_PLANE: ("plane", 3),
    mujoco.mjtGeom.mjGEOM_SPHERE: ("sphere", 1),
    mujoco.mjtGeom.mjGEOM_CAPSULE: ("capsule", 2),
    mujoco.mjtGeom.mjGEOM_BOX: ("box", 3),
}
"""Supported geoms: name, and how many of MuJoCo's three sizes describe it."""


_ABSENT = ("tendon", "eq", "mesh", "hfield", "flex", "skin", "plugin", "pair")
"""Kinds of element of which a model may have none."""

_ZERO = {
    "joint": (
        "jnt_stiffnesspoly",
        "jnt_springyield",
        "jnt_actfrclimited",
        "jnt_actgravcomp",
        "dof_frictionloss",
        "dof_dampingpoly",
    ),
    "body": ("body_gravcomp",),
    "geom": ("geom_adhesion", "geom_surfacevel"),
    "actuator": (
        "actuator_trntype",  # a joint's
        "actuator_dyntype",  # none
        "actuator_gaintype",  # fixed
        "actuator_biastype",  # none
        "actuator_forcelimited",
        "actuator_delay",
        "actuator_armature",
        "actuator_damping",
        "actuator_dampingpoly",
    ),
}
"""Features that must be switched off; for the enumerations 0 is the value in the comment."""

_ZERO_OPTIONS = ("wind", "density", "viscosity", "disableflags", "disableactuator")


def refuse_unsupported(m: mujoco.MjModel) -> None:
    """Raise a ValueError that names the first element without a counterpart in `Model`."""
    for kind in _ABSENT:
        if getattr(m, f"n{kind}"):
            what = "equality constraint" if kind == "eq" else kind
            raise ValueError(f"{what} '{name_of(m, _OBJECTS.get(kind, kind), 0)}' is not supported")
    if m.nmocap:
        raise ValueError(
            f"mocap body '{name_of(m, 'body', int(np.argmax(m.body_mocapid >= 0)))}' is not supported"
        )
    for option in _ZERO_OPTIONS:
        if np.any(getattr(m.opt, option)):
            raise ValueError(f"option '{option}' is not supported")
    for kind, arrays in _ZERO.items():
        for array in arrays:
            _refuse_where(m, kind, array)
    for joint in range(m.njnt):
        name = name_of(m, "joint", joint)
        turning = m.jnt_type[joint] in (Joint.FREE, Joint.BALL)
        if turning and (m.jnt_stiffness[joint] or m.jnt_limited[joint]):
            raise ValueError(f"joint '{name}': springs and limits need a slide or a hinge")
        if m.jnt_type[joint] == Joint.FREE and m.dof_armature[m.jnt_dofadr[joint]]:
            raise ValueError(f"joint '{name}': a free joint has no armature")
    for geom in range(m.ngeom):
        if mujoco.mjtGeom(m.geom_type[geom]) not in SHAPES:
            kind = mujoco.mjtGeom(m.geom_type[geom]).name.removeprefix("mjGEOM_").lower()
            raise ValueError(f"geom '{name_of(m, 'geom', geom)}': a {kind} is not supported")
    if m.nuser_geom not in (0, 4, 5):
        raise ValueError(
            f"geom user data must be 'ke kd kf mu' or 'ke kd kf mu kh', not {m.nuser_geom} numbers"
        )
    _refuse_actuators(m)


def _refuse_actuators(m: mujoco.MjModel) -> None:
    """Motors on slides and hinges are left, with controls in [-1, 1] where they are bounded."""
    for i in range(m.nu):
        name = name_of(m, "actuator", i)
        if m.jnt_type[m.actuator_trnid[i, 0]] not in (Joint.SLIDE, Joint.HINGE):
            raise ValueError(f"actuator '{name}': a motor needs a slide or a hinge")
        if m.actuator_ctrllimited[i] and tuple(m.actuator_ctrlrange[i]) != (-1.0, 1.0):
            raise ValueError(f"actuator '{name}': ctrlrange must be -1 1; scale its gear instead")


def _refuse_where(m: mujoco.MjModel, kind: str, array: str) -> None:
    """Refuse the first element of `kind` for which `array` is not zero."""
    values = getattr(m, array)
    rows = np.flatnonzero(values.reshape(len(values), -1).any(axis=1)) if len(values) else []
    if len(rows):
        prefix, feature = array.split("_", 1)
        index = m.dof_jntid[rows[0]] if prefix == "dof" else rows[0]
        raise ValueError(f"{kind} '{name_of(m, kind, index)}': {feature} is not supported")


_OBJECTS = {"eq": "equality"}


def name_of(m: mujoco.MjModel, kind: str, index: int) -> str:
    """Name of an element in messages and labels; kind and number where it has none."""
    code = mujoco.mju_str2Type(kind)
    return mujoco.mj_id2name(m, code, int(index)) or f"{kind} {index}"
