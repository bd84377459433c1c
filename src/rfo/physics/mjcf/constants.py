"""Constants of contacts and joint limits from what they hold and from MuJoCo's solref and solimp.

MuJoCo's constraints are impedances: at a depth r a contact of inverse mass A holds a load of
acceleration a where r K d(r)^2 = a (1 - d(r)), with d from solimp (d0, dmax, width, midpoint,
power) and K from solref: 1 / (dmax timeconst dampratio)^2, or -solref[0] / dmax^2 where solref is
negative. Ours are springs and dampers. The rule from the one to the other, with m = 1 / A the
effective mass (or inertia):

- k_e carries m g at the depth at which MuJoCo's does (g: the model's gravity, 9.81 where it has
  none); for the default solref and solimp that is 0.38 mm and k_e = 2.6e4 m;
- k_d has MuJoCo's damping ratio: k_d = 2 dampratio sqrt(k_e m);
- k_f is critical damping, 2 sqrt(k_e m), with the effective mass against sliding;
- mu is the sliding friction; condim 1 has none, and torsional and rolling friction (condim 4 and
  6) are left out.
"""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

from rfo.physics.reference import Reference

TINY = 1e-15


class Mobility(NamedTuple):
    """Inverse effective masses of a geom's surface, mean over its points [1/kg]."""

    pushed: float
    """Along the normal, through the centre of its rounding."""
    slid: float
    """Along the surface, the spin about that centre included."""

    def with_other(self, other: Mobility) -> Mobility:
        """Inverse effective mass of two geoms that press on each other."""
        return Mobility(self.pushed + other.pushed, self.slid + other.slid)


class Spring(NamedTuple):
    """What solref and solimp mean for a unit of effective mass."""

    stiffness: float
    """[1/s^2]"""
    damping_ratio: float


def mobility(at: Reference, link: int, points: np.ndarray, radius: float) -> Mobility:
    """Surface of a link at points (n, 3) in its frame, each the centre of a sphere [m]."""
    pushed = float(np.mean([at.mobility(link, point) for point in points]))
    return Mobility(pushed, pushed + radius**2 * at.spin_mobility(link))


def spring(solref: np.ndarray, solimp: np.ndarray, gravity: float) -> Spring:
    """See the rule above."""
    low, high, width, middle, power = solimp
    low, high, middle = np.clip((low, high, middle), 1e-4, 1 - 1e-4)
    width, power = max(width, TINY), max(power, 1.0)

    def impedance(depth: float) -> float:
        x = min(depth / width, 1.0)
        if x <= middle:
            share = x**power / middle ** (power - 1)
        else:
            share = 1 - (1 - x) ** power / (1 - middle) ** (power - 1)
        return low + share * (high - low)

    if solref[0] > 0:
        rate, ratio = 1 / max(high * solref[0] * solref[1], TINY) ** 2, float(solref[1])
    else:
        rate = max(-solref[0], TINY) / high**2
        ratio = -solref[1] / high / (2 * np.sqrt(rate))

    def held(depth: float) -> float:
        d = impedance(depth)
        return rate * d**2 / (1 - d) * depth

    # held(depth) only grows: the depth at which it is g lies below that of the least impedance
    least = min(low, high)
    shallow, deep = 0.0, gravity * (1 - least) / (rate * least**2)
    for _ in range(60):
        depth = (shallow + deep) / 2
        shallow, deep = (depth, deep) if held(depth) < gravity else (shallow, depth)
    return Spring(gravity / deep, ratio)


class Surface(NamedTuple):
    """Settings of the contact of two geoms."""

    solref: np.ndarray
    solimp: np.ndarray
    mu: float


def surface(m: mujoco.MjModel, a: int, b: int) -> Surface:
    """MuJoCo's rule for two geoms: the one of higher priority decides; else solref and solimp are
    mixed and the larger friction counts."""
    one, other = m.geom_priority[a], m.geom_priority[b]
    geoms = [a, b] if one == other else [a if one > other else b]
    weights = m.geom_solmix[geoms]
    weights = np.ones(len(geoms)) if weights.max() < TINY else weights
    weights = weights / weights.sum()
    solref = m.geom_solref[geoms]
    mixed = weights @ solref if np.all(solref[:, 0] > 0) else solref.min(axis=0)
    mu = m.geom_friction[geoms, 0].max() if m.geom_condim[geoms].max() > 1 else 0.0
    return Surface(mixed, weights @ m.geom_solimp[geoms], float(mu))


def surface_of_pair(m: mujoco.MjModel, pair: int) -> Surface:
    """Settings that the file gives to a ``<pair>``."""
    mu = m.pair_friction[pair, 0] if m.pair_dim[pair] > 1 else 0.0
    return Surface(m.pair_solref[pair], m.pair_solimp[pair], float(mu))


def contact_law(
    surface: Surface, mobility: Mobility, gravity: float, soft: float
) -> tuple[float, ...]:
    """k_e, k_d, k_f, mu, k_h of a contact, for a frequency times `soft`; zero where nothing can
    move."""
    if mobility.pushed < TINY:
        return 0.0, 0.0, 0.0, 0.0, 0.0
    rate, ratio = spring(surface.solref, surface.solimp, gravity)
    frequency = soft * np.sqrt(rate)
    ke, kd = frequency**2 / mobility.pushed, 2 * ratio * frequency / mobility.pushed
    return ke, kd, 2 * frequency / mobility.slid, surface.mu, 0.0


def limit_constants(
    m: mujoco.MjModel, mass_matrix: np.ndarray, gravity: float, soft: float
) -> tuple[np.ndarray, np.ndarray]:
    """k_e and k_d (nv,) of the joints' limits, for frequencies times `soft`."""
    inertia = 1 / np.diag(np.linalg.inv(mass_matrix))
    springs = [spring(m.jnt_solref[j], m.jnt_solimp[j], gravity) for j in m.dof_jntid]
    frequency = soft * np.sqrt([one.stiffness for one in springs])
    ratio = np.array([one.damping_ratio for one in springs])
    return inertia * frequency**2, 2 * inertia * ratio * frequency
