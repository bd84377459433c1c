"""What `rfo.physics.mjcf` can import, and the messages for what it cannot."""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco
import numpy as np

from rfo.errors import SettingError
from rfo.physics.model import Joint

SHAPES = {
    mujoco.mjtGeom.mjGEOM_PLANE: ("plane", 3),
    mujoco.mjtGeom.mjGEOM_SPHERE: ("sphere", 1),
    mujoco.mjtGeom.mjGEOM_CAPSULE: ("capsule", 2),
    mujoco.mjtGeom.mjGEOM_BOX: ("box", 3),
}
"""Geoms that touch as what they are: name, and how many of MuJoCo's three sizes describe it."""


_ABSENT = {
    "flex": "flex",
    "plugin": "plugin",
    "plastic": "plastic joint",
}
"""Kinds of element of which a model may have none, and what they are called."""

_ZERO = {
    "joint": (
        "jnt_stiffnesspoly",
        "jnt_springyield",
        "jnt_actgravcomp",
        "dof_dampingpoly",
    ),
    "tendon": ("tendon_stiffnesspoly", "tendon_springyield", "tendon_dampingpoly"),
    "body": ("body_gravcomp",),
    "geom": ("geom_adhesion", "geom_surfacevel"),
    "pair": ("pair_adhesion",),
    "actuator": (
        "actuator_delay",
        "actuator_history",
        "actuator_dampingpoly",
    ),
}
"""Features that must be switched off; for the enumerations 0 is the value in the comment."""

_ZERO_OPTIONS = ("wind", "density", "viscosity", "disableactuator")

CONTACT_IN_USER_DATA = "rfo_contact"
"""Name of the custom number by which a file says that its geoms' user data are contact
constants."""


def refuse_unsupported(m: mujoco.MjModel) -> None:
    """Raise a SettingError that names the first element without a counterpart in `Model`."""
    for kind, what in _ABSENT.items():
        if getattr(m, f"n{kind}"):
            name = name_of(m, kind, 0)
            raise SettingError(f"{what} '{name}' is not supported: remove it")
    if not m.njnt:
        raise SettingError("the model has no joint, so that nothing can move: give a body one")
    _refuse_options(m)
    for kind, arrays in _ZERO.items():
        for array in arrays:
            _refuse_where(m, kind, array)
    for joint in range(m.njnt):
        name = name_of(m, "joint", joint)
        turning = m.jnt_type[joint] in (Joint.FREE, Joint.BALL)
        if turning and (m.jnt_stiffness[joint] or m.jnt_limited[joint]):
            raise SettingError(f"joint '{name}': springs and limits need a slide or a hinge")
    if user_is_contact(m) and m.nuser_geom not in (4, 5):
        raise SettingError(
            f"with the custom numeric '{CONTACT_IN_USER_DATA}' geom user data must be 'ke kd kf mu'"
            f" or 'ke kd kf mu kh', not {m.nuser_geom} numbers"
        )
    _refuse_actuators(m)
    _refuse_tendons(m)
    _refuse_equalities(m)


def notes_of(m: mujoco.MjModel) -> list[str]:
    """What is read differently than in MuJoCo, or not at all: a line for each kind."""
    notes = []
    if m.nmocap:
        body = name_of(m, "body", int(np.argmax(m.body_mocapid >= 0)))
        notes.append(f"mocap bodies stay where the file puts them ('{body}')")
    if m.nkey and (m.key_qvel.any() or m.key_act.any()):
        notes.append("starts from keyframes are at rest: their qvel and act are not read")
    unseen = [f"{what}s" for what in ("skin", "light", "cam") if getattr(m, f"n{what}")]
    if unseen:
        notes.append(f"{', '.join(unseen).replace('cams', 'cameras')} are not drawn")
    return notes


def user_is_contact(m: mujoco.MjModel) -> bool:
    """Whether the file says that its geoms' user data are contact constants."""
    index = mujoco.mj_name2id(m, mujoco.mjtObj.mjOBJ_NUMERIC, CONTACT_IN_USER_DATA)
    return index >= 0 and bool(m.numeric_data[m.numeric_adr[index]])


def _refuse_options(m: mujoco.MjModel) -> None:
    for option in _ZERO_OPTIONS:
        if np.any(getattr(m.opt, option)):
            raise SettingError(f"option '{option}' is not supported: remove it")


_KINDS = {
    "transmission": ("actuator_trntype", mujoco.mjtTrn, "JOINT JOINTINPARENT TENDON"),
    "activation": ("actuator_dyntype", mujoco.mjtDyn, "NONE INTEGRATOR FILTER FILTEREXACT"),
    "gain": ("actuator_gaintype", mujoco.mjtGain, "FIXED AFFINE"),
    "bias": ("actuator_biastype", mujoco.mjtBias, "NONE AFFINE"),
}
"""What an actuator is made of: its array, its kinds, those that are supported."""


def _refuse_actuators(m: mujoco.MjModel) -> None:
    for i in range(m.nu):
        name = name_of(m, "actuator", i)
        for what, (array, kinds, supported) in _KINDS.items():
            kind = kinds(int(getattr(m, array)[i])).name.split("_", 1)[1]
            if kind not in supported.split():
                raise SettingError(
                    f"actuator '{name}': its {what} '{kind.lower()}' is not supported:"
                    f" use {', '.join(supported.lower().split())}"
                )
        if m.actuator_ctrlnum[i] != 1 or m.actuator_outnum[i] != 1:
            raise SettingError(f"actuator '{name}': only one control and one force are supported")


def _refuse_tendons(m: mujoco.MjModel) -> None:
    sphere, cylinder = mujoco.mjtWrap.mjWRAP_SPHERE, mujoco.mjtWrap.mjWRAP_CYLINDER
    for i in range(m.ntendon):
        path = slice(m.tendon_adr[i], m.tendon_adr[i] + m.tendon_num[i])
        around = np.flatnonzero(np.isin(m.wrap_type[path], (sphere, cylinder)))
        if len(around):
            tendon, geom = name_of(m, "tendon", i), m.wrap_objid[path][around[0]]
            raise SettingError(
                f"tendon '{tendon}' wraps around geom '{name_of(m, 'geom', geom)}', which is not"
                " supported: take the geom out of its path and lead it over sites, or make it a"
                " fixed tendon"
            )


def _refuse_equalities(m: mujoco.MjModel) -> None:
    for i in np.flatnonzero(m.eq_active0):
        kind = mujoco.mjtEq(int(m.eq_type[i])).name.removeprefix("mjEQ_")
        if kind not in ("JOINT", "TENDON", "CONNECT", "WELD"):
            raise SettingError(
                f"equality constraint '{name_of(m, 'eq', i)}': a {kind.lower()} is not supported:"
                " remove it, or make it inactive"
            )


def _refuse_where(m: mujoco.MjModel, kind: str, array: str) -> None:
    """Refuse the first element of `kind` for which `array` is not zero."""
    values = getattr(m, array)
    rows = np.flatnonzero(values.reshape(len(values), -1).any(axis=1)) if len(values) else []
    if len(rows):
        prefix, feature = array.split("_", 1)
        index = m.dof_jntid[rows[0]] if prefix == "dof" else rows[0]
        raise SettingError(f"{kind} '{name_of(m, kind, index)}': {feature} is not supported")


_OBJECTS = {"eq": "equality", "plastic": "joint"}


def name_of(m: mujoco.MjModel, kind: str, index: int | np.integer) -> str:
    """Name of an element in messages and labels; kind and number where it has none."""
    code = mujoco.mju_str2Type(_OBJECTS.get(kind, kind))
    return mujoco.mj_id2name(m, code, int(index)) or f"{kind} {index}"
