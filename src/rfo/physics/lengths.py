"""Lengths, and the forces that act along them: actuators, tendons, couplings of joints.

A *length* is a sum of coefficients times coordinates of slides and hinges: that of one joint times
its gear, or of a fixed tendon. A force along it acts on each of its joints times the coefficient.
Or it is that of a cord (`rfo.physics.cords`), a spatial tendon, times a gear: then its coefficients
change as the robot moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

Terms = Sequence[tuple[int, float]]
"""Degrees of freedom and their coefficients."""


class Length(NamedTuple):
    """One length."""

    terms: Terms
    """Degrees of freedom with their coefficients; for a cord all that can move it, in one pose."""
    cord: int = -1
    """Index of its cord, or -1."""
    gear: float = 1.0
    """By which the cord's length is multiplied."""


@dataclass(frozen=True, eq=False)
class Lengths:
    """N lengths of n terms. A term on a free or ball joint has a velocity, and no coordinate."""

    start: np.ndarray  # (N + 1,) int, where the terms of each begin
    dof: np.ndarray  # (n,) int, degree of freedom of each term
    coef: np.ndarray  # (n,) [1, m/rad or rad/m]; of a cord only what constants are taken from
    cord: np.ndarray  # (N,) int, index of the cord that each is the length of, or -1
    gear: np.ndarray  # (N,) of a cord [1], else 1

    @classmethod
    def of(cls, lengths: Sequence[Length]) -> Lengths:
        """Lengths one after another."""
        terms = [term for one in lengths for term in one.terms]
        return cls(
            start=np.cumsum([0, *(len(one.terms) for one in lengths)]).astype(np.int32),
            dof=np.array([dof for dof, _ in terms], np.int32),
            coef=np.array([coef for _, coef in terms], float),
            cord=np.array([one.cord for one in lengths], np.int32),
            gear=np.array([one.gear for one in lengths], float),
        )

    def __len__(self) -> int:
        return len(self.start) - 1

    def then(self, other: Lengths) -> Lengths:
        """These and others."""
        return Lengths(
            np.concatenate([self.start, other.start[1:] + self.start[-1]]),
            np.concatenate([self.dof, other.dof]),
            np.concatenate([self.coef, other.coef]),
            np.concatenate([self.cord, other.cord]),
            np.concatenate([self.gear, other.gear]),
        )

    @property
    def corded(self) -> bool:
        """Whether one is that of a cord."""
        return bool(np.any(self.cord >= 0))

    def one(self, i: int | np.integer) -> Length:
        """Length i."""
        part = slice(*self.start[i : i + 2])
        terms = [*zip(self.dof[part], self.coef[part], strict=True)]
        return Length(terms, int(self.cord[i]), float(self.gear[i]))

    def jacobian(self, nv: int) -> np.ndarray:
        """Rates of the lengths per unit of qd, (N, nv); of cords, in the pose of their terms."""
        rows = np.zeros((len(self), nv))
        np.add.at(rows, (np.repeat(np.arange(len(self)), np.diff(self.start)), self.dof), self.coef)
        return rows

    def moving(self, nv: int) -> np.ndarray:
        """Which degrees of freedom move the lengths in some pose, (N, nv)."""
        rows = self.jacobian(nv) != 0
        for i in np.flatnonzero(self.cord >= 0):
            rows[i, self.dof[self.start[i] : self.start[i + 1]]] = True
        return rows


class Dynamics(IntEnum):
    """What an activation a does at a control u."""

    NONE = 0
    """No activation: the force follows u."""
    INTEGRATOR = 1
    """a' = u"""
    FILTER = 2
    """a' = (u - a) / time constant, stepped by Euler's rule"""
    FILTER_EXACT = 3
    """The same, stepped exactly."""


@dataclass(frozen=True, eq=False)
class Actuators:
    """Forces that nu controls drive.

    With a length l and x, the control or the activation that follows it,

        force = clamp((gain . (1, l, l')) x + bias . (1, l, l'), force_range) .
    """

    names: tuple[str, ...]
    lengths: Lengths
    gain: np.ndarray  # (nu, 3)
    bias: np.ndarray  # (nu, 3)
    force_range: np.ndarray  # (nu, 2) infinite where there is none
    control_range: np.ndarray  # (nu, 2) infinite where there is none
    dynamics: np.ndarray  # (nu,) int, Dynamics
    time_constant: np.ndarray  # (nu,) of filters [s]
    activation_range: np.ndarray  # (nu, 2) infinite where there is none
    early: np.ndarray  # (nu,) bool, whether the force follows the activation after the step

    @property
    def activations(self) -> np.ndarray:
        """Indices of the actuators with an activation, (na,)."""
        return np.flatnonzero(self.dynamics)

    @property
    def plain(self) -> bool:
        """Whether all are motors: a control times a gear, on one degree of freedom."""
        return bool(
            np.all(np.diff(self.lengths.start) == 1)
            and not self.lengths.corded
            and not (self.bias.any() or self.gain[:, 1:].any() or self.dynamics.any())
            and not np.isfinite(self.force_range).any()
        )

    @property
    def dof(self) -> np.ndarray:
        """Degree of freedom of each motor, (nu,); of `plain` ones alone."""
        return self.lengths.dof

    @property
    def gear(self) -> np.ndarray:
        """Force of each motor per unit of control [N or N m], (nu,); of `plain` ones alone."""
        return self.lengths.coef * self.gain[:, 0]


@dataclass(frozen=True, eq=False)
class Tendons:
    """Springs, dampers, limits and dry friction along N lengths; friction of a joint is one.

    With a length l the force is

        stiffness (clamp(l, rest) - l) - damping l' - friction l' / sqrt(l'^2 + creep^2) ,

    and that of a limit where l is beyond one. The armature is an inertia along the length.
    """

    lengths: Lengths
    stiffness: np.ndarray  # (N,) [N/m or N m/rad]
    rest: np.ndarray  # (N, 2) between which the spring is slack
    damping: np.ndarray  # (N,) [N s/m or N m s/rad]
    friction: np.ndarray  # (N,) [N or N m]
    creep: np.ndarray  # (N,) speed at which friction is 71 % of that [m/s or rad/s]
    armature: np.ndarray  # (N,) [kg or kg m^2]
    limit_lower: np.ndarray  # (N,) -inf where free
    limit_upper: np.ndarray  # (N,)
    limit_ke: np.ndarray  # (N,) [N/m or N m/rad]
    limit_kd: np.ndarray  # (N,) [N s/m or N m s/rad]


@dataclass(frozen=True, eq=False)
class Couplings:
    """N stiff springs that hold one length at a polynomial of another.

    With r = l_1 - sum_k poly_k l_2^k the force along r is -ke r - kd r'. Both are implicit.
    """

    lengths: Lengths
    """2 N: l_1 of each, then l_2 of each, which may have no terms."""
    poly: np.ndarray  # (N, 5)
    ke: np.ndarray  # (N,) [N/m or N m/rad]
    kd: np.ndarray  # (N,) [N s/m or N m s/rad]


NO_TENDONS = Tendons(Lengths.of([]), *([np.zeros(0)] + [np.zeros((0, 2))] + [np.zeros(0)] * 8))
NO_COUPLINGS = Couplings(Lengths.of([]), np.zeros((0, 5)), np.zeros(0), np.zeros(0))
