"""The flags of an MJCF file's option section."""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco

from rfo.errors import SettingError

HARMLESS = {
    "disable": "AUTORESET CLAMPCTRL EULERDAMP ISLAND MIDPHASE MULTICCD NATIVECCD REFSAFE SENSOR"
    " WARMSTART",
    "enable": "DIAGEXACT ENERGY FWDINV INVDISCRETE",
}
"""Flags that concern MuJoCo's own solver, integrator, collision detection and measurements, and the
clamping of controls, which stay in their ranges."""

_REMOVED = {
    "CONTACT": ("geom_contype", "geom_conaffinity"),
    "EQUALITY": ("eq_active0",),
    "FRICTIONLOSS": ("dof_frictionloss", "tendon_frictionloss"),
    "LIMIT": ("jnt_limited", "tendon_limited"),
    "SPRING": ("jnt_stiffness", "tendon_stiffness"),
    "DAMPER": ("dof_damping", "tendon_damping", "actuator_damping"),
    "ACTUATION": ("actuator_gainprm", "actuator_biasprm"),
}
"""What a disabled flag sets to zero."""


def disabled(m: mujoco.MjModel, flag: str) -> bool:
    """Whether a file disables a flag, named as in `mujoco.mjtDisableBit` without its prefix."""
    return bool(m.opt.disableflags & getattr(mujoco.mjtDisableBit, f"mjDSBL_{flag}"))


def honour(m: mujoco.MjModel) -> None:
    """Take from a compiled model what its flags disable.

    Raises:
        SettingError: for a flag that has no counterpart, by name.
    """
    constraints = disabled(m, "CONSTRAINT")
    for flag, arrays in _REMOVED.items():
        by_all = constraints and flag in ("CONTACT", "EQUALITY", "FRICTIONLOSS", "LIMIT")
        if disabled(m, flag) or by_all:
            for array in arrays:
                getattr(m, array)[:] = 0
    if disabled(m, "GRAVITY"):
        m.opt.gravity[:] = 0
    known = {"disable": ["CONSTRAINT", "GRAVITY", *_REMOVED], "enable": []}
    for kind, flags, prefix in (
        ("disable", mujoco.mjtDisableBit, "mjDSBL_"),
        ("enable", mujoco.mjtEnableBit, "mjENBL_"),
    ):
        for name, flag in flags.__members__.items():
            short = name.removeprefix(prefix)
            if not name.startswith(prefix) or short in [*known[kind], *HARMLESS[kind].split()]:
                continue
            if getattr(m.opt, f"{kind}flags") & flag.value:
                raise SettingError(
                    f"flag '{short.lower()}' cannot be {kind}d here:"
                    " remove it from the option section"
                )
