"""What acts along lengths in an MJCF file: actuators, tendons, dry friction, equalities.

Limits and equalities are springs and dampers, by the rule of `rfo.physics.mjcf.constants`. Dry
friction has MuJoCo's slope at rest, m b d / (1 - d): m is the effective mass, b the damping that
solref gives, d the first number of solimp. So it creeps under a load as MuJoCo's does, or faster
where that is slower than `SLOWEST`.
"""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import mujoco
import numpy as np

from rfo.errors import SettingError
from rfo.physics.lengths import Actuators, Couplings, Length, Lengths, Tendons
from rfo.physics.mjcf.constants import TINY, Spring, spring
from rfo.physics.mjcf.cords import Ropes, passive
from rfo.physics.mjcf.support import name_of
from rfo.physics.model import Joint

FREE_RANGE = (-np.inf, np.inf)
SLOWEST = 1e-3
"""Least speed at which dry friction sets in, so that it can be differentiated [m/s or rad/s]."""


def actuators(m: mujoco.MjModel, ropes: Ropes) -> Actuators:
    """The actuators of a model that `refuse_unsupported` has passed.

    Raises:
        SettingError: for one that has no counterpart, by name.
    """
    gain, bias = m.actuator_gainprm[:, :3].copy(), m.actuator_biasprm[:, :3].copy()
    gain[m.actuator_gaintype == mujoco.mjtGain.mjGAIN_FIXED, 1:] = 0
    bias[m.actuator_biastype == mujoco.mjtBias.mjBIAS_NONE] = 0
    read = Actuators(
        names=tuple(name_of(m, "actuator", i) for i in range(m.nu)),
        lengths=Lengths.of([_transmission(m, ropes, i) for i in range(m.nu)]),
        gain=gain,
        bias=bias,
        force_range=_ranges(m.actuator_forcerange, m.actuator_forcelimited),
        control_range=_ranges(m.actuator_ctrlrange, m.actuator_ctrllimited),
        dynamics=m.actuator_dyntype.astype(np.int32),
        time_constant=np.maximum(m.actuator_dynprm[:, 0], mujoco.mjMINVAL),
        activation_range=_ranges(m.actuator_actrange, m.actuator_actlimited),
        early=m.actuator_actearly.astype(bool),
    )
    _narrow(m, read)
    return read


def _ranges(ranges: np.ndarray, limited: np.ndarray) -> np.ndarray:
    return np.where(limited.astype(bool)[:, None], ranges, FREE_RANGE)


def _transmission(m: mujoco.MjModel, ropes: Ropes, actuator: int) -> Length:
    """The length of an actuator, times its gear."""
    kind, target = m.actuator_trntype[actuator], m.actuator_trnid[actuator, 0]
    gear, name = m.actuator_gear[actuator], name_of(m, "actuator", actuator)
    if kind == mujoco.mjtTrn.mjTRN_TENDON:
        return ropes.length(target, gear[0])
    first, joint = m.jnt_dofadr[target], m.jnt_type[target]
    if joint in (Joint.SLIDE, Joint.HINGE):
        return Length([(first, gear[0])])
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
    return Length([(first + i, gear[i]) for i in range(dofs) if gear[i]])


def _narrow(m: mujoco.MjModel, read: Actuators) -> None:
    """Give the force range of a joint or tendon to the one actuator that acts on it."""
    by_tendon = m.actuator_trntype == mujoco.mjtTrn.mjTRN_TENDON
    moments, moving = read.lengths.jacobian(m.nv), read.lengths.moving(m.nv)
    for tendon in np.flatnonzero(m.tendon_actfrclimited):
        by = np.flatnonzero(by_tendon & (m.actuator_trnid[:, 0] == tendon))
        what = f"tendon '{name_of(m, 'tendon', tendon)}'"
        _narrow_one(read, by, m.actuator_gear[by, 0], m.tendon_actfrcrange[tendon], what)
    for joint in np.flatnonzero(m.jnt_actfrclimited):
        by = np.flatnonzero(moving[:, m.jnt_dofadr[joint]])
        what = f"joint '{name_of(m, 'joint', joint)}'"
        if np.any(by_tendon[by]):
            raise SettingError(
                f"{what}: its actuatorfrcrange cannot bound an actuator on a tendon:"
                " give the actuator a forcerange"
            )
        gears = moments[by, m.jnt_dofadr[joint]]
        _narrow_one(read, by, gears, m.jnt_actfrcrange[joint], what)


def _narrow_one(
    read: Actuators, by: np.ndarray, gears: np.ndarray, limits: np.ndarray, what: str
) -> None:
    if len(by) > 1:
        raise SettingError(
            f"{what}: several actuators share its actuatorfrcrange: give them a forcerange each"
        )
    for actuator, gear in zip(by, gears, strict=True):
        own, low, high = read.force_range[actuator], *sorted(limits / gear)
        read.force_range[actuator] = np.clip(own, low, high)


class _Springs:
    """Springs and dampers along lengths, by the rule of `rfo.physics.mjcf.constants`."""

    def __init__(self, mass_matrix: np.ndarray, gravity: float):
        self._inverse = np.linalg.inv(mass_matrix)
        self._gravity = gravity

    def mass(self, rate: np.ndarray) -> float:
        """Effective mass along a length of the given rates (nv,); 0 where nothing moves."""
        mobility = float(rate @ self._inverse @ rate)
        return 1 / mobility if mobility > TINY else 0.0

    def constants(
        self, rate: np.ndarray, solref: np.ndarray, solimp: np.ndarray
    ) -> tuple[float, float]:
        """Stiffness and damping."""
        one: Spring = spring(solref, solimp, self._gravity)
        mass, frequency = self.mass(rate), np.sqrt(one.stiffness)
        return mass * one.stiffness, 2 * one.damping_ratio * frequency * mass

    def creep(
        self, rate: np.ndarray, friction: float, solref: np.ndarray, solimp: np.ndarray
    ) -> float:
        """Speed at which the slope at rest would reach the friction, at least `SLOWEST`."""
        near, most = np.clip(solimp[:2], 1e-4, 1 - 1e-4)
        damping = 2 / (most * solref[0]) if solref[0] > 0 else -solref[1] / most
        slope = self.mass(rate) * damping * near / (1 - near)
        return max(friction / max(slope, TINY), SLOWEST)


class _Tendon(NamedTuple):
    """A row of `Tendons`."""

    length: Length
    stiffness: float = 0.0
    rest: tuple[float, float] = (0.0, 0.0)
    damping: float = 0.0
    friction: float = 0.0
    creep: float = 1.0
    armature: float = 0.0
    limits: tuple[float, float] = FREE_RANGE
    spring: tuple[float, float] = (0.0, 0.0)


def tendons(
    m: mujoco.MjModel, ropes: Ropes, of: Actuators, mass_matrix: np.ndarray, gravity: float
) -> Tendons:
    """Tendons that do something, joints with dry friction, actuators with armature or damping."""
    springs = _Springs(mass_matrix, gravity)
    rows = [
        *_passive_tendons(m, ropes, springs),
        *_dry_joints(m, springs),
        *_reflected(m, of),
    ]
    limits = np.array([row.limits for row in rows]).reshape(-1, 2)
    constants = np.array([row.spring for row in rows]).reshape(-1, 2)
    return Tendons(
        lengths=Lengths.of([row.length for row in rows]),
        stiffness=np.array([row.stiffness for row in rows]),
        rest=np.array([row.rest for row in rows]).reshape(-1, 2),
        damping=np.array([row.damping for row in rows]),
        friction=np.array([row.friction for row in rows]),
        creep=np.array([row.creep for row in rows]),
        armature=np.array([row.armature for row in rows]),
        limit_lower=limits[:, 0],
        limit_upper=limits[:, 1],
        limit_ke=constants[:, 0],
        limit_kd=constants[:, 1],
    )


def _passive_tendons(m: mujoco.MjModel, ropes: Ropes, springs: _Springs) -> Iterator[_Tendon]:
    for i in range(m.ntendon):
        if not passive(m, i):
            continue
        length, margin = ropes.length(i), m.tendon_margin[i]
        rate = Lengths.of([length]).jacobian(m.nv)[0]
        low, high = m.tendon_range[i] + (margin, -margin)
        friction, dry = m.tendon_frictionloss[i], (m.tendon_solref_fri[i], m.tendon_solimp_fri[i])
        yield _Tendon(
            length,
            stiffness=m.tendon_stiffness[i],
            rest=tuple(m.tendon_lengthspring[i]),
            damping=m.tendon_damping[i],
            friction=friction,
            creep=springs.creep(rate, friction, *dry) if friction else 1.0,
            armature=m.tendon_armature[i],
            limits=(low, high) if m.tendon_limited[i] else FREE_RANGE,
            spring=springs.constants(rate, m.tendon_solref_lim[i], m.tendon_solimp_lim[i]),
        )


def _dry_joints(m: mujoco.MjModel, springs: _Springs) -> Iterator[_Tendon]:
    for dof in np.flatnonzero(m.dof_frictionloss):
        friction, rate = m.dof_frictionloss[dof], np.eye(m.nv)[dof]
        creep = springs.creep(rate, friction, m.dof_solref[dof], m.dof_solimp[dof])
        yield _Tendon(Length([(int(dof), 1.0)]), friction=friction, creep=creep)


def _reflected(m: mujoco.MjModel, of: Actuators) -> Iterator[_Tendon]:
    """What an actuator's own rotor adds to what it drives."""
    for i in np.flatnonzero((m.actuator_armature != 0) | (m.actuator_damping != 0)):
        damping, armature = m.actuator_damping[i], m.actuator_armature[i]
        yield _Tendon(of.lengths.one(i), damping=damping, armature=armature)


def couplings(
    m: mujoco.MjModel, ropes: Ropes, mass_matrix: np.ndarray, gravity: float
) -> Couplings:
    """Active equalities of joints and of tendons."""
    springs = _Springs(mass_matrix, gravity)
    firsts, seconds, polys, constants = [], [], [], []
    for i in np.flatnonzero(m.eq_active0):
        kind = m.eq_type[i]
        if kind == mujoco.mjtEq.mjEQ_JOINT:
            one, other = (_joint(m, j, i) for j in (m.eq_obj1id[i], m.eq_obj2id[i]))
        elif kind == mujoco.mjtEq.mjEQ_TENDON:
            one, other = (_tendon_length(m, ropes, t) for t in (m.eq_obj1id[i], m.eq_obj2id[i]))
        else:
            continue
        about = np.polynomial.Polynomial([-other.at_start, 1.0])
        poly = one.at_start + np.polynomial.Polynomial(m.eq_data[i, : 5 if other.there else 1])(
            about
        )
        rates = Lengths.of([one.length, other.length]).jacobian(m.nv)
        rate = rates[0] - m.eq_data[i, 1] * rates[1]
        firsts.append(one.length)
        seconds.append(other.length)
        polys.append(np.pad(poly.coef, (0, 5 - len(poly.coef))))
        constants.append(springs.constants(rate, m.eq_solref[i], m.eq_solimp[i]))
    ke, kd = np.array(constants).reshape(-1, 2).T
    return Couplings(Lengths.of([*firsts, *seconds]), np.array(polys).reshape(-1, 5), ke, kd)


class _Side(NamedTuple):
    """One of the two lengths that an equality is about."""

    length: Length
    at_start: float
    """Length in the reference configuration."""
    there: bool = True


NO_SIDE = _Side(Length([]), 0.0, there=False)


def _joint(m: mujoco.MjModel, joint: int, equality: int | np.integer) -> _Side:
    """The length of a joint, or of none (-1)."""
    if joint < 0:
        return NO_SIDE
    if m.jnt_type[joint] not in (Joint.SLIDE, Joint.HINGE):
        name = name_of(m, "equality", equality)
        raise SettingError(f"equality constraint '{name}': it needs slides or hinges")
    return _Side(Length([(m.jnt_dofadr[joint], 1.0)]), m.qpos0[m.jnt_qposadr[joint]])


def _tendon_length(m: mujoco.MjModel, ropes: Ropes, tendon: int) -> _Side:
    if tendon < 0:
        return NO_SIDE
    return _Side(ropes.length(tendon), m.tendon_length0[tendon])
