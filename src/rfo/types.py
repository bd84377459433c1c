"""Conventions of the package and shared array types.

These letters stand for dimensions in every shape annotation and docstring:

====  ==================================================================
T     control steps of one rollout (the horizon H of the paper)
B     environments in the batch, always the leading axis of environment state
O     size of a vector observation
P     points of a point cloud
A     size of an action
K     integration steps of the flow
E     critics in the ensemble
S     physics substeps of one control step
====  ==================================================================

Arrays over time are time-major, ``(T, B, ...)``. Environment time is ``t``. Flow time is ``u``,
from 0 (noise) to 1 (action). Units are SI units and stand in brackets. z points up, quaternions are
``(w, x, y, z)``, and actions lie in [-1, 1]. Rewards are maximised, losses are minimised.
``terminated`` means that the task ended the episode: there is no future value. ``truncated`` means
that the time limit ended it: the value of the next observation still counts. The two are never
merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Bool, Float, Int, Key, UInt

PRNGKey = Key[Array, ""]
PyTree = Any
"""A nested structure of arrays."""

Observation = Array | dict[str, Array]
"""A vector (*batch, O), or a dict of vectors (*batch, n) and point clouds (*batch, P, 3)."""

ObservationShape = int | Mapping[str, tuple[int, ...]]
"""Size O of a vector observation, or the shape (n,) or (P, 3) of each array of a dict."""

ENVIRONMENTS = "environments"
"""Axis of several devices along which the environments B are shared out."""

Metrics = dict[str, Array]
"""Scalars that one update reports, by name."""

__all__ = [
    "ENVIRONMENTS",
    "Array",
    "Bool",
    "Float",
    "Int",
    "Key",
    "Metrics",
    "Observation",
    "ObservationShape",
    "PRNGKey",
    "PyTree",
    "UInt",
]
