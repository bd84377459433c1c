"""Conventions and shared array types.

Letters for dimensions, used in every shape annotation and docstring:

====  ==================================================================
T     control steps of one rollout (the horizon H of the paper)
B     environments in the batch, always the leading axis of environment state
O     size of an observation
A     size of an action
K     integration steps of the flow
E     critics in the ensemble
S     physics substeps of one control step
====  ==================================================================

Arrays over time are time-major, ``(T, B, ...)``. Environment time is ``t``; flow time is
``u``, from 0 (noise) to 1 (action). Units are SI and stand in brackets, z points up,
quaternions are ``(w, x, y, z)``, actions lie in [-1, 1], rewards are maximised, losses are
minimised. ``terminated`` (the task ended the episode; no future value) and ``truncated``
(the clock ended it; the value of the next observation still counts) are never merged.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Bool, Float, Int, Key

PRNGKey = Key[Array, ""]
PyTree = Any
"""A nested structure of arrays."""

Metrics = dict[str, Array]
"""Scalars that one update reports, by name."""

__all__ = ["Array", "Bool", "Float", "Int", "Key", "Metrics", "PRNGKey", "PyTree"]
