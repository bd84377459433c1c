"""Contact of bodies with one another: which parts of spheres, capsules and boxes are tested against
which.

Every shape is a set of segments with a radius: a sphere is one of length 0; a capsule its axis and,
because an axis that lies flat must not rock about one point, its two ends; a box its twelve edges
with radius 0. In a *directed pair* the segments of one shape are tested against another shape as a
whole, the target, which is a box or the axis of a capsule or sphere. ``native/articulated_pairs.h``
chooses the point of contact on each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import NamedTuple

import numpy as np


class Kind(Enum):
    """Shapes that bodies may touch one another with, and their sizes [m]."""

    SPHERE = "sphere"
    """radius"""
    CAPSULE = "capsule"
    """radius, half length of the axis, along z"""
    BOX = "box"
    """half extents"""


class Shape(NamedTuple):
    """A shape fixed in a link."""

    kind: Kind
    size: np.ndarray
    """See `Kind`."""
    link: int
    """-1: fixed in the world."""
    pos: np.ndarray
    """Place of its centre in the link's frame [m]."""
    rotation: np.ndarray
    """(3, 3), from its frame to the link's."""
    quat: np.ndarray
    """The same rotation (w, x, y, z)."""
    margin: float = 0.0
    """Distance from the surface at which it touches [m]."""

    @property
    def radius(self) -> float:
        """Radius of its segments, with the margin [m]."""
        return self.margin + (0.0 if self.kind is Kind.BOX else float(self.size[0]))

    @property
    def half(self) -> np.ndarray:
        """As a target: half extents of a box, or (0, 0, half length) of an axis [m]."""
        if self.kind is Kind.BOX:
            return np.asarray(self.size, float)
        return np.array([0.0, 0.0, self.size[1] if self.kind is Kind.CAPSULE else 0.0])

    @property
    def reach(self) -> float:
        """Radius of the sphere about the centre that holds the shape [m]."""
        return float(np.linalg.norm(self.half)) + self.radius

    def segments(self, ends_only: bool) -> list[tuple[np.ndarray, np.ndarray]]:
        """Middle and half vector of each segment, in the shape's frame [m]."""
        if self.kind is Kind.BOX:
            signs = [s for s in product((-1.0, 0.0, 1.0), repeat=3) if s.count(0.0) == 1]
            return [(self.half * s, self.half * (np.array(s) == 0)) for s in signs]
        ends = [(sign * self.half, np.zeros(3)) for sign in (-1, 1)]
        if self.kind is Kind.SPHERE:
            return ends[:1]
        return ends if ends_only else [*ends, (np.zeros(3), self.half)]


@dataclass(frozen=True, eq=False)
class Pairs:
    """P directed pairs with S segments in all."""

    link: np.ndarray  # (P,) int, of the shape with segments; -1 = world
    target: np.ndarray  # (P,) int, link of the target
    box: np.ndarray  # (P,) int, how many of the two are boxes: 1, the target, 2 or none
    start: np.ndarray  # (P + 1,) int, first segment of each pair, then S; empty without pairs
    centre: np.ndarray  # (P, 3) of the shape with segments, in its link's frame [m]
    reach: np.ndarray  # (P,) distance of the centres beyond which nothing touches [m]
    radius: np.ndarray  # (P,) of the segments and of an axis that is the target, together [m]
    thickness: np.ndarray  # (P,) radius of the segments alone [m]
    target_pos: np.ndarray  # (P, 3) of the target's centre, in its link's frame [m]
    target_quat: np.ndarray  # (P, 4) of the target in its link's frame
    target_half: np.ndarray  # (P, 3) see `Shape.half` [m]
    own_quat: np.ndarray  # (P, 4) of the shape with segments in its link's frame
    own_half: np.ndarray  # (P, 3) see `Shape.half` [m]
    sign: np.ndarray  # (P,) -1 where the pair of the same shapes came before, the other way round
    law: np.ndarray  # (P, 5) k_e, k_d, k_f, mu, k_h of `rfo.physics.articulated`
    segment_mid: np.ndarray  # (S, 3) in the link's frame [m]
    segment_half: np.ndarray  # (S, 3) in the link's frame [m]


def pairs(shapes: Iterable[tuple[Shape, Shape, tuple[float, ...]]]) -> Pairs:
    """The directed pairs of shapes that may touch, given with the constants of their contact.

    A sphere is tested against anything; of two capsules, the axis against the axis and the ends of
    each against the other; a capsule against a box; of two boxes, the edges of each against the
    other.
    """
    rank = [Kind.SPHERE, Kind.CAPSULE, Kind.BOX]
    directed: list[tuple[Shape, Shape, bool]] = []
    laws = []
    for one, other, law in shapes:
        first, second = sorted((one, other), key=lambda shape: rank.index(shape.kind))
        directed.append((first, second, False))
        laws.append(law)
        if first.kind is second.kind is not Kind.SPHERE:
            directed.append((second, first, True))
            laws.append(law)
    parts = [shape.segments(ends_only=again) for shape, _, again in directed]
    turned = [
        (shape.pos + shape.rotation @ mid, shape.rotation @ half)
        for (shape, _, _), part in zip(directed, parts, strict=True)
        for mid, half in part
    ]
    return Pairs(
        link=np.array([a.link for a, _, _ in directed], np.int32),
        target=np.array([b.link for _, b, _ in directed], np.int32),
        box=np.array([[a.kind, b.kind].count(Kind.BOX) for a, b, _ in directed], np.int32),
        start=np.cumsum([0, *map(len, parts)]) if directed else np.zeros(0, np.int32),
        centre=_rows([a.pos for a, _, _ in directed], 3),
        reach=np.array([a.reach + b.reach for a, b, _ in directed], float),
        radius=np.array([a.radius + b.radius for a, b, _ in directed], float),
        thickness=np.array([a.radius for a, _, _ in directed], float),
        target_pos=_rows([b.pos for _, b, _ in directed], 3),
        target_quat=_rows([b.quat for _, b, _ in directed], 4),
        target_half=_rows([b.half for _, b, _ in directed], 3),
        own_quat=_rows([a.quat for a, _, _ in directed], 4),
        own_half=_rows([a.half for a, _, _ in directed], 3),
        sign=np.array([-1.0 if again else 1.0 for _, _, again in directed]),
        law=_rows(laws, 5),
        segment_mid=_rows([mid for mid, _ in turned], 3),
        segment_half=_rows([half for _, half in turned], 3),
    )


def _rows(rows: list, width: int) -> np.ndarray:
    return np.array(rows, float).reshape(-1, width)


NO_PAIRS = pairs(())
