"""Terms of observations: what a robot sees, as small functions of a `Moment`.

A list of their names is an observation: ``observe=("projected_gravity", "joint_positions")``. Any
function of a `Moment` that returns an array (B, n) will do beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from rfo.envs.base import Entry
from rfo.envs.moment import Moment
from rfo.errors import SettingError, unknown
from rfo.physics.model import Joint
from rfo.types import Array, Float

Term = Callable[[Moment], Array]
"""Part of an observation: a moment of B robots -> (B, n)."""


def coordinates(now: Moment) -> Float[Array, "B nq"]:
    """All coordinates [m, rad]."""
    return now.q


def coordinates_off_the_ground(now: Moment) -> Float[Array, "B n"]:
    """All coordinates but those of the place on the ground: the first two of a free joint, or the
    first one [m, rad]."""
    return now.q[:, 2 if now.body.model.joint[0] == Joint.FREE else 1 :]


def velocities(now: Moment) -> Float[Array, "B nv"]:
    """All velocities [m/s, rad/s]."""
    return now.qd


def activations(now: Moment) -> Float[Array, "B na"]:
    """Activations of the actuators."""
    return jnp.concatenate([jnp.zeros((len(now.q), 0)), *now.state[2:]], axis=-1)


def height(now: Moment) -> Float[Array, "B 1"]:
    """Height of the trunk [m]."""
    return now.trunk[:, 2:3]


def velocity(now: Moment) -> Float[Array, "B 3"]:
    """Velocity of the trunk in its own frame [m/s]."""
    now.body.require_free("velocity")
    return now.velocity


def angular_velocity(now: Moment) -> Float[Array, "B 3"]:
    """Angular velocity of the trunk in its own frame [rad/s]."""
    now.body.require_free("angular_velocity")
    return now.spin


def projected_gravity(now: Moment) -> Float[Array, "B 3"]:
    """Direction of gravity in the trunk's frame, (0, 0, -1) when its z axis points up."""
    return now.gravity


def joint_positions(now: Moment) -> Float[Array, "B n"]:
    """Coordinates of the driven joints from where they start [m, rad]."""
    return now.joints


def joint_velocities(now: Moment) -> Float[Array, "B n"]:
    """Velocities of the driven joints [m/s, rad/s]."""
    return now.joint_velocities


def last_action(now: Moment) -> Float[Array, "B A"]:
    """The last action, in [-1, 1]."""
    return now.action


def goal(now: Moment) -> Float[Array, "B 3"]:
    """The command (forward, to the left [m/s], turning to the left [rad/s]), or the target's place
    in the world [m]."""
    return _goal(now, "goal")


def gait_phase(now: Moment) -> Float[Array, "B 2"]:
    """Cosine and sine of the gait's phase."""
    phase = now.gait("gait_phase")
    return jnp.stack([jnp.cos(phase), jnp.sin(phase)], axis=-1)


def to_target(now: Moment) -> Float[Array, "B 3"]:
    """Way from the reaching site to its target in the world [m]."""
    return _goal(now, "to_target") - now.reaching


def _goal(now: Moment, term: str) -> Array:
    if now.goal is None:
        raise SettingError(
            f"'{term}' needs a goal: choose reward velocity or reach, or give goal", "observe"
        )
    return now.goal


TERMS: dict[str, Term] = {
    term.__name__: term
    for term in (
        coordinates,
        coordinates_off_the_ground,
        velocities,
        activations,
        height,
        velocity,
        angular_velocity,
        projected_gravity,
        joint_positions,
        joint_velocities,
        last_action,
        goal,
        gait_phase,
        to_target,
    )
}
"""All terms by name."""


def find(term: str | Term) -> tuple[str, Term]:
    """A term's name and function.

    Raises:
        SettingError: for an unknown name, with near names.
    """
    if callable(term):
        return getattr(term, "__name__", "term"), term
    if term not in TERMS:
        raise SettingError(unknown("observation term", term, TERMS), "observe")
    return term, TERMS[term]


def largest_errors(sizes: Mapping[str, float], entries: tuple[Entry, ...]) -> np.ndarray | None:
    """Largest error of each number of an observation, (O,); None if there is none.

    Args:
        sizes: by the term's name, in its own unit.
        entries: the terms.

    Raises:
        SettingError: for an unknown name, or a negative size.
    """
    names = [entry.name for entry in entries]
    for name, size in sizes.items():
        if name not in names:
            raise SettingError(unknown("observed term", name, names), "observation_noise")
        if not (np.isfinite(size) and size >= 0):
            raise SettingError(
                f"observation_noise of {name} must not be negative, not {size}", "observation_noise"
            )
    each = [np.full(entry.size, sizes.get(entry.name, 0.0), np.float32) for entry in entries]
    return np.concatenate(each) if sizes else None
