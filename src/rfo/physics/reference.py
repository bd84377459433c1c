"""A model in its reference configuration, in NumPy: Jacobians, mass matrix, stable time step.

This is used when a model is made, not when it moves: the simulators' own equations are native.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rfo.physics.model import Joint, Model

MARGIN = 0.7
"""Share of the largest stable time step that `stable_step` keeps to: mass matrices change with the
pose."""


class Reference(NamedTuple):
    """Links at q0, and what their velocities are per unit of qd, in the world's axes."""

    pos: np.ndarray  # (L, 3) origins [m]
    rot: np.ndarray  # (L, 3, 3) from a link's axes to the world's
    linear: np.ndarray  # (L, 3, nv) of the origins
    angular: np.ndarray  # (L, 3, nv)
    mass_matrix: np.ndarray  # (nv, nv), with armature

    def jacobian(self, link: int, point: np.ndarray) -> np.ndarray:
        """Velocity (3, nv) per unit of qd of a point fixed in a link (-1: in the world), in its
        frame [m]."""
        if link < 0:
            return np.zeros((3, len(self.mass_matrix)))
        return self.linear[link] + np.cross(self.angular[link], self.rot[link] @ point, axis=0)

    def mobility(self, link: int, point: np.ndarray) -> float:
        """Inverse of the least mass that a force at a point meets, over all directions [1/kg]."""
        return self.largest(self.jacobian(link, point))

    def spin_mobility(self, link: int) -> float:
        """Inverse of the least inertia that a torque meets, over all axes [1/(kg m^2)]."""
        return self.largest(self.angular[link]) if link >= 0 else 0.0

    def largest(self, jacobian: np.ndarray) -> float:
        """Largest eigenvalue of J M^-1 J^T, the inverse of the least inertia along its rows."""
        return float(
            np.linalg.eigvalsh(jacobian @ np.linalg.solve(self.mass_matrix, jacobian.T))[-1]
        )


def reference(model: Model) -> Reference:
    """The model at q0."""
    links, nv = model.links, model.nv
    at = Reference(
        np.zeros((links, 3)),
        np.zeros((links, 3, 3)),
        np.zeros((links, 3, nv)),
        np.zeros((links, 3, nv)),
        np.diag(np.asarray(model.armature, float)),
    )
    for i, (parent, kind) in enumerate(zip(model.parent, model.joint, strict=True)):
        q, v = model.q0[model.q_start[i] :], model.v_start[i]
        frame, at.pos[i] = rotation(model.quat[i]), model.pos[i]
        if parent >= 0 and kind != Joint.FREE:
            arm = at.rot[parent] @ model.pos[i]
            at.pos[i] = at.pos[parent] + arm
            at.linear[i] = at.linear[parent] + np.cross(at.angular[parent], arm, axis=0)
            at.angular[i] = at.angular[parent]
            frame = at.rot[parent] @ frame
        axis = frame @ model.axis[i]
        if kind == Joint.FREE:
            at.pos[i], frame = q[:3], rotation(q[3:7])
            at.linear[i][:, v : v + 3] = at.angular[i][:, v + 3 : v + 6] = np.eye(3)
        elif kind == Joint.BALL:
            frame = frame @ rotation(q[:4])
            at.angular[i][:, v : v + 3] += frame
        elif kind == Joint.SLIDE:
            at.pos[i] += q[0] * axis
            # what the parent turns, the slide's way included
            at.linear[i] += np.cross(at.angular[i], q[0] * axis, axis=0)
            at.linear[i][:, v] += axis
        else:
            frame = frame @ _turn(model.axis[i], q[0])
            at.angular[i][:, v] += axis
        at.rot[i] = frame
        centre, turning = at.jacobian(i, model.com[i]), frame.T @ at.angular[i]
        at.mass_matrix[:] += (
            model.mass[i] * centre.T @ centre + turning.T @ model.inertia[i] @ turning
        )
    return at


def stable_step(model: Model) -> float:
    """Longest time step that keeps semi-implicit Euler stable, minus a margin [s].

    With stiffness K and explicit damping D in joint space, a step h is stable if every mode has
    h^2 w^2 + 2 h c < 4, where w^2 and 2 c are at most the largest eigenvalues of M^-1 K and M^-1 D.
    The sum contains all springs, limits and welds, every contact with the stiffest plane (the
    margin covers a second one), and the two stiffest pairs of bodies, all at once. Joint damping is
    implicit and does not count. The result is infinite if nothing pushes.
    """
    at = reference(model)
    inverse = np.linalg.inv(np.linalg.cholesky(at.mass_matrix))
    stiffness, damping = _joints(model)
    on_plane = max(_planes(model, at), key=lambda pushes: _largest(inverse, pushes[0]))
    held = _welds(model, at)
    stiffness, damping = stiffness + on_plane[0] + held[0], damping + on_plane[1] + held[1]
    rate, decay = _largest(inverse, stiffness), _largest(inverse, damping)
    pairs = [_largest_of_pair(model, at, inverse, k) for k in range(len(model.pairs.link))]
    if pairs:
        rates, decays = np.sort(np.array(pairs), axis=0).T
        rate, decay = rate + rates[-2:].sum(), decay + decays[-2:].sum()
    if not rate:
        return MARGIN * 2 / decay if decay else np.inf
    return MARGIN * (np.sqrt(decay**2 + 4 * rate) - decay) / rate


BOX_SHARE = 0.5
"""Part of a box's corners that stand on the ground at once."""
SEGMENTS_AT_ONCE = 4
"""Segments of a shape that press on another at once: the edges of a box's face."""


def _joints(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Stiffness and damping of springs and limits, of joints and tendons, in joint space."""
    limited = np.isfinite(model.limit_lower) | np.isfinite(model.limit_upper)
    stiffness = np.diag(model.stiffness + np.where(limited, model.limit_ke, 0.0))
    damping = np.diag(np.where(limited, model.limit_kd, 0.0))
    of = model.tendons
    limited = np.isfinite(of.limit_lower) | np.isfinite(of.limit_upper)
    rates = of.lengths.jacobian(model.nv)
    along = (of.stiffness + np.where(limited, of.limit_ke, 0.0), np.where(limited, of.limit_kd, 0))
    stiffer, damper = (rates.T @ (values[:, None] * rates) for values in along)
    return stiffness + stiffer, damping + damper


def _planes(model: Model, at: Reference) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stiffness and damping of all contacts with each plane, in joint space; the ground first."""
    none = np.zeros_like(at.mass_matrix)
    pushes = {(*model.ground_normal, model.ground_height): (none, none)}

    def add(plane: tuple, link: int, point: np.ndarray, radius: float, law: np.ndarray) -> None:
        share, spin = 1.0 if radius else BOX_SHARE, radius * at.angular[link]
        stiffness, damping = pushes.get(plane, (none, none))
        pushes[plane] = _add(stiffness, damping, share * law, at.jacobian(link, point), spin)

    spheres = model.contact_link, model.contact_pos, model.contact_radius, model.contact_law
    for sphere in zip(*spheres, strict=True):
        add((*model.ground_normal, model.ground_height), *sphere)
    on = model.supports
    for k, link in enumerate(on.link):
        plane = (*on.normal[k], on.height[k])
        add(plane, link, on.pos[k], float(on.axes[k].max()), on.law[k])
    return list(pushes.values())


def _welds(model: Model, at: Reference) -> tuple[np.ndarray, np.ndarray]:
    """Stiffness and damping of welds, in joint space."""
    of, totals = model.welds, (np.zeros_like(at.mass_matrix), np.zeros_like(at.mass_matrix))
    for k, links in enumerate(of.link):
        push, turn = relative(at, links, of.pos[k])
        for total, by_push, by_turn in zip(
            totals, (of.ke, of.kd), (of.turn_ke, of.turn_kd), strict=True
        ):
            total += by_push[k] * push.T @ push + by_turn[k] * turn.T @ turn
    return totals


def relative(at: Reference, links: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Velocity and spin (3, nv) of a point of one link against one of another per unit of qd."""
    a, b = links
    spins = [at.angular[i] if i >= 0 else np.zeros((3, len(at.mass_matrix))) for i in links]
    return at.jacobian(a, points[:3]) - at.jacobian(b, points[3:]), spins[0] - spins[1]


def _add(
    stiffness: np.ndarray,
    damping: np.ndarray,
    law: np.ndarray,
    jacobian: np.ndarray,
    spin: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """With those of a contact at a point, and of friction at a distance from it."""
    ke, kd, kf = law[:3]
    push = jacobian.T @ jacobian
    return stiffness + ke * push, damping + max(kd, kf) * push + kf * spin.T @ spin


def _largest_of_pair(
    model: Model, at: Reference, inverse: np.ndarray, k: int
) -> tuple[float, float]:
    """Largest eigenvalues of M^-1 K and M^-1 D of a directed pair."""
    pairs, link = model.pairs, int(model.pairs.link[k])
    middles = pairs.segment_mid[pairs.start[k] : pairs.start[k + 1]]
    theirs = at.jacobian(int(pairs.target[k]), pairs.target_pos[k])
    share = min(1.0, SEGMENTS_AT_ONCE / len(middles))
    stiffness = damping = np.zeros_like(at.mass_matrix)
    spin = pairs.thickness[k] * at.angular[link] if link >= 0 else np.zeros((3, model.nv))
    for middle in middles:
        jacobian = at.jacobian(link, middle) - theirs
        stiffness, damping = _add(stiffness, damping, share * pairs.law[k], jacobian, spin)
    return _largest(inverse, stiffness), _largest(inverse, damping)


def _largest(inverse: np.ndarray, matrix: np.ndarray) -> float:
    """Largest eigenvalue of M^-1 X, with the inverse of M's Cholesky factor."""
    return max(0.0, float(np.linalg.eigvalsh(inverse @ matrix @ inverse.T).max(initial=0.0)))


def rotation(quat: np.ndarray) -> np.ndarray:
    """(w, x, y, z), of any length but 0, to a matrix."""
    w, *u = quat / np.linalg.norm(quat)
    cross = np.cross(np.eye(3), u)
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


def _turn(axis: np.ndarray, angle: float) -> np.ndarray:
    return rotation(np.append(np.cos(angle / 2), np.sin(angle / 2) * axis))
