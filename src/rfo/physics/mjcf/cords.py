"""The lengths of an MJCF file's tendons: fixed ones, and spatial ones that run over sites.

Constants of a spatial tendon's limits, friction and equalities follow from a mass, and what moves
it changes with the pose. They are taken where the tendon moves most easily: of the reference pose
and `POSES` others in the ranges of the joints.
"""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco
import numpy as np

from rfo.physics.cords import Cords
from rfo.physics.lengths import Length
from rfo.physics.mjcf.tree import IDENTITY, Frame, rotation, rows
from rfo.physics.model import Joint

POSES = 31


class Ropes:
    """Tendons of a model that `refuse_unsupported` has passed."""

    def __init__(self, m: mujoco.MjModel, frames: list[Frame]):
        self._m = m
        found = [i for i in range(m.ntendon) if spatial(m, i) and _acts(m, i)]
        self._segments = {i: _segments(m, i) for i in found}
        self._rates = self._easiest()
        ends = [one for i in found for one in self._segments[i]]
        places = [[_place(m, frames, site) for site in sites] for sites, _ in ends]
        self.cords = Cords(
            start=np.cumsum([0, *(len(self._segments[i]) for i in found)]).astype(np.int32),
            link=np.array([[x.link for x in pair] for pair in places], np.int32).reshape(-1, 2),
            pos=rows([np.concatenate([x.pos for x in pair]) for pair in places], 6),
            scale=np.array([scale for _, scale in ends]),
        )
        """Spatial tendons that something acts along."""

    def length(self, tendon: int | np.integer, gear: float = 1.0) -> Length:
        """The length of a tendon, times a gear."""
        m = self._m
        if spatial(m, tendon):
            rates, moves = self._rates[int(tendon)], self._moves(int(tendon))
            terms = [(int(dof), gear * rates[dof]) for dof in np.flatnonzero(moves)]
            return Length(terms, list(self._segments).index(int(tendon)), gear)
        first = m.tendon_adr[tendon]
        wraps = range(first, first + m.tendon_num[tendon])
        return Length([(m.jnt_dofadr[m.wrap_objid[k]], gear * m.wrap_prm[k]) for k in wraps])

    def _moves(self, tendon: int) -> np.ndarray:
        """Degrees of freedom that move one end of a segment without the other, (nv,)."""
        moves = np.zeros(self._m.nv, bool)
        for sites, _ in self._segments[tendon]:
            one, other = (_above(self._m, self._m.site_bodyid[site]) for site in sites)
            moves |= one != other
        return moves

    def _easiest(self) -> dict[int, np.ndarray]:
        """Rates of each spatial tendon per unit of our qd, (nv,)."""
        m, rng = self._m, np.random.default_rng(0)
        data, mass = mujoco.MjData(m), np.zeros((m.nv, m.nv))
        best = {i: (-1.0, np.zeros(m.nv)) for i in self._segments}
        for k in range(POSES + 1) if best else ():
            if k:
                _draw(m, data, rng)
            mujoco.mj_fwdPosition(m, data)
            mujoco.mj_fullM(m, data, mass)
            for i, segments in self._segments.items():
                rate = np.zeros(m.nv)
                for sites, scale in segments:
                    rate += scale * _rate(m, data, sites)
                mobility = float(rate @ np.linalg.solve(mass, rate))
                # poses that are as good but for rounding: the first, so that all machines agree
                if mobility > best[i][0] * (1 + 1e-9):
                    best[i] = mobility, _ours(m, data.qpos, rate)
        return {i: rate for i, (_, rate) in best.items()}


def spatial(m: mujoco.MjModel, tendon: int | np.integer) -> bool:
    """Whether a tendon is spatial, in place of fixed."""
    return m.wrap_type[m.tendon_adr[tendon]] != mujoco.mjtWrap.mjWRAP_JOINT


def passive(m: mujoco.MjModel, tendon: int) -> bool:
    """Whether a tendon does something by itself."""
    settings = ("stiffness", "damping", "frictionloss", "armature", "limited")
    return any(getattr(m, f"tendon_{name}")[tendon] for name in settings)


def _acts(m: mujoco.MjModel, tendon: int) -> bool:
    """Whether a tendon acts by itself, or an actuator or an equality acts along it."""
    drives = (m.actuator_trntype == mujoco.mjtTrn.mjTRN_TENDON) & (m.actuator_trnid[:, 0] == tendon)
    equals = m.eq_active0.astype(bool) & (m.eq_type == mujoco.mjtEq.mjEQ_TENDON)
    equals &= (m.eq_obj1id == tendon) | (m.eq_obj2id == tendon)
    return passive(m, tendon) or bool(drives.any() or equals.any())


def _segments(m: mujoco.MjModel, tendon: int) -> list[tuple[tuple[int, int], float]]:
    """Its pairs of neighbouring sites, each with one over the divisor of the pulley before it."""
    first, found, scale = m.tendon_adr[tendon], [], 1.0
    before = -1
    for k in range(first, first + m.tendon_num[tendon]):
        if m.wrap_type[k] == mujoco.mjtWrap.mjWRAP_PULLEY:
            before, scale = -1, 1.0 / m.wrap_prm[k]
            continue
        site = int(m.wrap_objid[k])
        if before >= 0:
            found.append(((before, site), scale))
        before = site
    return found


def _place(m: mujoco.MjModel, frames: list[Frame], site: int) -> Frame:
    return frames[m.site_bodyid[site]].then(m.site_pos[site], IDENTITY)


def _above(m: mujoco.MjModel, body: int) -> np.ndarray:
    """Degrees of freedom that carry a body, (nv,)."""
    found = np.zeros(m.nv, bool)
    while body:
        joints = m.body_jntadr[body] + np.arange(m.body_jntnum[body])
        found |= np.isin(m.dof_jntid, joints)
        body = m.body_parentid[body]
    return found


def _rate(m: mujoco.MjModel, data: mujoco.MjData, sites: tuple[int, int]) -> np.ndarray:
    """Rate of the distance of two sites per unit of MuJoCo's qvel; 0 where they meet."""
    one, other = np.zeros((3, m.nv)), np.zeros((3, m.nv))
    mujoco.mj_jacSite(m, data, one, None, sites[0])
    mujoco.mj_jacSite(m, data, other, None, sites[1])
    gap = data.site_xpos[sites[0]] - data.site_xpos[sites[1]]
    return gap @ (one - other) / max(np.linalg.norm(gap), mujoco.mjMINVAL)


def _draw(m: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
    """A random pose: about 1 rad or 1 m from the reference, within the joints' ranges."""
    data.qpos[:] = m.qpos0
    mujoco.mj_integratePos(m, data.qpos, rng.normal(size=m.nv), 1.0)
    for joint in np.flatnonzero(m.jnt_limited):
        if m.jnt_type[joint] in (Joint.SLIDE, Joint.HINGE):
            data.qpos[m.jnt_qposadr[joint]] = rng.uniform(*m.jnt_range[joint])


def _ours(m: mujoco.MjModel, qpos: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Per unit of our velocities: those of a free joint turn about the world's axes."""
    rate = rate.copy()
    for joint in np.flatnonzero(m.jnt_type == Joint.FREE):
        spin = slice(m.jnt_dofadr[joint] + 3, m.jnt_dofadr[joint] + 6)
        rate[spin] = rotation(qpos[m.jnt_qposadr[joint] + 3 :][:4]) @ rate[spin]
    return rate
