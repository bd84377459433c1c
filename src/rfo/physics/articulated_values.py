"""The fields of an articulated model in memory (``native/articulated_model.h``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rfo.physics.cords import HAIR
from rfo.physics.lengths import Actuators, Dynamics
from rfo.physics.model import Joint, Model
from rfo.physics.native import Field
from rfo.physics.reference import reference

SYMMETRIC = [0, 4, 8, 1, 2, 5]
"""Entries xx, yy, zz, xy, xz, yz of a matrix whose rows follow each other."""
COARSE = 0.5
"""If a servo's frequency times the substep [rad] is larger, its stiffness is implicit, too."""


def chains(parents: np.ndarray) -> list[list[int]]:
    """For each degree of freedom, itself and its ancestors upwards."""
    found: list[list[int]] = []
    for j, parent in enumerate(parents):
        found.append([j, *(found[parent] if parent >= 0 else [])])
    return found


def values(fields: Sequence[Field], model: Model, dt: float, substeps: int) -> dict[str, Any]:
    """The model's own arrays and the indices derived from them, for substeps of `dt` [s]."""
    dof_parent = np.full(model.nv, -1)
    last = np.full(model.links, -1)  # deepest degree of freedom at or above each link
    for i, parent in enumerate(model.parent):
        above = last[parent] if parent >= 0 else -1
        for j in range(model.v_start[i], model.v_start[i] + model.v_count[i]):
            dof_parent[j] = above
            above = j
        last[i] = above
    lengths = _length_values(model, dt)
    dof_above = elimination(dof_parent, lengths.pop("coupled"))
    depth = np.array([len(chain) for chain in chains(dof_above)])
    dof_link = np.repeat(np.arange(model.links), model.v_count)
    scalar = np.isin(model.joint, (Joint.SLIDE, Joint.HINGE))
    nq, nv, nu, nm = model.nq, model.nv, model.nu, int(depth.sum())
    own = {x.name: getattr(model, x.name) for x in fields if hasattr(model, x.name)}
    return (
        own
        | _named("weld", model.welds)
        | _named("cord", model.cords)
        | _named("support", model.supports)
        | _pair_values(model)
        | lengths
        | {
            "links": model.links,
            "nq": nq + model.na,
            "nv": nv,
            "nu": nu,
            "nm": nm,
            "contacts": len(model.contact_link),
            "cords": len(model.cords),
            "cord_hair": HAIR,
            "cord_segments": len(model.cords.link),
            "welds": len(model.welds.link),
            "supports": len(model.supports.link),
            "substeps": substeps,
            "dt": dt,
            "ground_height": model.ground_height,
            "quat": model.quat[:, [1, 2, 3, 0]],
            "inertia": model.inertia.reshape(-1, 9)[:, SYMMETRIC],
            "dof_parent": dof_parent,
            "dof_above": dof_above,
            "level": depth - 1,
            "filled": int(np.any(dof_above != dof_parent)),
            "dof_q": np.where(scalar[dof_link], model.q_start[dof_link], -1),
            "row": np.concatenate([[0], np.cumsum(depth)[:-1]]),
        }
    )


def elimination(dof_parent: np.ndarray, coupled: Iterable[np.ndarray]) -> np.ndarray:
    """Parents in the tree up which a factorisation of H fills its rows, (nv,).

    H has an entry where one degree of freedom is an ancestor of the other, and where `coupled`
    names both. Eliminated from the last to the first, the row of one is passed on to the nearest
    that it has an entry with (Liu, "The role of elimination trees in sparse factorization", 1990).
    """
    rows = [set(chain[1:]) for chain in chains(dof_parent)]
    for group in coupled:
        for j in group:
            rows[j] |= {int(i) for i in group if i < j}
    above = np.full(len(rows), -1)
    for j in reversed(range(len(rows))):
        if rows[j]:
            above[j] = max(rows[j])
            rows[above[j]] |= rows[j] - {int(above[j])}
    return above


def _length_values(model: Model, dt: float) -> dict[str, Any]:
    """The part of `values` that tells of lengths, and which degrees of freedom they couple."""
    actuators, tendons, couplings = model.actuators, model.tendons, model.couplings
    own = actuators.lengths
    lengths = own.then(tendons.lengths).then(couplings.lengths)
    moving = lengths.moving(model.nv)
    soft = np.zeros(model.nu, bool)
    mass, ahead = np.zeros(model.nu), np.zeros(model.nu)
    if not model.motorised:
        inverse = np.linalg.inv(reference(model).mass_matrix)
        mobility = np.einsum("ci,ij,cj->c", own.jacobian(model.nv), inverse, own.jacobian(model.nv))
        mass = 1 / np.maximum(mobility, 1e-12)
        ahead = dt * np.sqrt(np.maximum(-actuators.bias[:, 1], 0) / mass) > COARSE
        soft = actuators.bias[:, 2].astype(bool) | actuators.gain[:, 2].astype(bool) | ahead
    n = len(couplings.ke)
    pairs = moving[model.nu + len(tendons.lengths) :]
    acting = [*moving[: model.nu][soft], *moving[model.nu :][: len(tendons.lengths)]]
    acting += [pairs[e] | pairs[n + e] for e in range(n)]
    return (
        _named("tendon", tendons)
        | _named("coupling", couplings)
        | _activation_values(model, dt)
        | {
            "coupled": [np.flatnonzero(row) for row in acting],
            "lengths": len(lengths),
            "terms": len(lengths.dof),
            "tendons": len(tendons.lengths),
            "couplings": n,
            "length_start": lengths.start,
            "length_dof": lengths.dof,
            "length_coef": lengths.coef,
            "length_cord": lengths.cord,
            "length_gear": lengths.gear,
            "actuator_gain": actuators.gain,
            "actuator_bias": actuators.bias,
            "force_range": actuators.force_range,
            "actuator_mass": mass,
            "actuator_ahead": ahead,
            "actuator_soft": soft,
        }
    )


def _activation_values(model: Model, dt: float) -> dict[str, Any]:
    """The part of `values` that tells of activations: a' = rate u - decay a."""
    of: Actuators = model.actuators
    index = np.full(model.nu, -1)
    index[of.activations] = model.nq + np.arange(model.na)
    exact = -np.expm1(-dt / of.time_constant) / dt
    kinds = [of.dynamics == kind for kind in (Dynamics.FILTER, Dynamics.FILTER_EXACT)]
    decay = np.select(kinds, [1 / of.time_constant, exact], 0.0)
    return {
        "activation_q": index,
        "activation_early": of.early,
        "activation_decay": decay,
        "activation_rate": np.where(of.dynamics == Dynamics.INTEGRATOR, 1.0, decay),
        "activation_range": of.activation_range,
    }


def _pair_values(model: Model) -> dict[str, Any]:
    """The part of `values` that tells of contact between bodies."""
    pairs = model.pairs
    return _named("pair", pairs) | {
        "pairs": len(pairs.link),
        "pair_ends": len(pairs.start),
        "segments": len(pairs.segment_mid),
        "segment_mid": pairs.segment_mid,
        "segment_half": pairs.segment_half,
        "segment_length": np.linalg.norm(pairs.segment_half, axis=-1),
    }


def _named(prefix: str, record: Any) -> dict[str, Any]:
    """The arrays of a record by name; quaternions become (x, y, z, w)."""
    found = {}
    for name in (field.name for field in dataclasses.fields(record)):
        array = getattr(record, name)
        if name.endswith("quat"):
            array = array.reshape(-1, 4)[:, [1, 2, 3, 0]].reshape(array.shape)
        found[f"{prefix}_{name}"] = array
    return found
