"""Terms of rewards: small functions of a `Moment` that a sum weighs.

A table of names and weights is a reward: ``{"track_velocity": 1.5, "upright": 0.2}``. Settings of
a term stand beside its weight: ``{"track_velocity": {"weight": 1.5, "width": 0.3}}``. In Python any
function of a `Moment` that returns (B,) is a reward, and may call the terms.

Terms of what is wanted lie between 0 and 1; those of what costs are not negative, and take
negative weights. Means over joints or actuators do not depend on how many there are. All have a
gradient almost everywhere.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from rfo.envs.moment import Moment
from rfo.errors import SettingError, unknown
from rfo.types import Array, Float

Reward = Callable[[Moment], Array]
"""Reward of arriving in a moment: B robots -> (B,)."""


def alive(now: Moment) -> Float[Array, " B"]:
    """1 in every step."""
    return jnp.ones(len(now.q), now.q.dtype)


def forward_velocity(now: Moment) -> Float[Array, " B"]:
    """Speed of the first joint along the world's x [m/s]; may be negative."""
    return now.qd[:, 0]


def upright(now: Moment) -> Float[Array, " B"]:
    """Cosine of the trunk's lean from its attitude at the start; may be negative."""
    return now.gravity @ jnp.asarray(now.body.down, now.q.dtype)


def height(now: Moment, width: float = 0.1) -> Float[Array, " B"]:
    """exp(-e^2 / width^2) for an error e of the trunk's height from that at the start [m]."""
    error = now.trunk[:, 2] - now.body.start[now.body.trunk, 2]
    return _near(error**2, width)


def track_velocity(now: Moment, width: float = 0.5) -> Float[Array, " B"]:
    """exp(-|e|^2 / width^2) for an error e of the trunk's velocity, forward and to the left
    [m/s]."""
    return _near(jnp.sum(_velocity_error(now, "track_velocity") ** 2, axis=-1), width)


def track_turn(now: Moment, width: float = 0.5) -> Float[Array, " B"]:
    """exp(-e^2 / width^2) for an error e of the turning rate [rad/s]."""
    return _near(_turn_error(now, "track_turn") ** 2, width)


def velocity_error(now: Moment, width: float = 0.1) -> Float[Array, " B"]:
    """Length of the error of the trunk's velocity, forward and to the left, rounded within `width`
    [m/s]: it has a gradient where `track_velocity` is flat."""
    squared = jnp.sum(_velocity_error(now, "velocity_error") ** 2, axis=-1)
    return _length(squared, width)


def turn_error(now: Moment, width: float = 0.1) -> Float[Array, " B"]:
    """Size of the error of the turning rate, rounded within `width` [rad/s]."""
    return _length(_turn_error(now, "turn_error") ** 2, width)


def vertical_velocity(now: Moment) -> Float[Array, " B"]:
    """Squared velocity of the trunk along its z axis [m^2/s^2]."""
    now.body.require_free("vertical_velocity")
    return now.velocity[:, 2] ** 2


def rocking(now: Moment) -> Float[Array, " B"]:
    """Squared angular velocity of the trunk about its x and y axes [rad^2/s^2]."""
    now.body.require_free("rocking")
    return jnp.sum(now.spin[:, :2] ** 2, axis=-1)


def pose_error(now: Moment) -> Float[Array, " B"]:
    """Mean squared distance of all coordinates from the start [m^2, rad^2]."""
    return jnp.mean((now.q - jnp.asarray(now.body.pose, now.q.dtype)) ** 2, axis=-1)


def joint_deviation(now: Moment, joints: str = "") -> Float[Array, " B"]:
    """Mean squared distance of the driven joints from the start [rad^2, m^2]; with `joints`, a
    regular expression, of those whose names it is found in."""
    return jnp.mean(now.joints[:, _named(now, joints, "joint_deviation")] ** 2, axis=-1)


def joint_speed(now: Moment, joints: str = "") -> Float[Array, " B"]:
    """Mean squared velocity of the driven joints [rad^2/s^2, m^2/s^2]; `joints` as above."""
    return jnp.mean(now.joint_velocities[:, _named(now, joints, "joint_speed")] ** 2, axis=-1)


def joint_limits(now: Moment, share: float = 0.9) -> Float[Array, " B"]:
    """Mean squared way of the driven joints beyond a share of their ranges, about the middles
    [rad^2, m^2]."""
    model, dofs = now.body.model, now.body.dofs
    low, high = model.limit_lower[dofs], model.limit_upper[dofs]
    limited = np.isfinite(low) & np.isfinite(high)
    middle, half = np.where(limited, low + high, 0) / 2, np.where(limited, high - low, np.inf) / 2
    away = jnp.abs(now.q[:, now.body.coordinates] - jnp.asarray(middle, now.q.dtype))
    beyond = jnp.maximum(away - jnp.asarray(share * half, now.q.dtype), 0.0)
    return jnp.mean(beyond**2, axis=-1)


def action_size(now: Moment) -> Float[Array, " B"]:
    """Mean squared action."""
    return jnp.mean(now.action**2, axis=-1)


def action_rate(now: Moment) -> Float[Array, " B"]:
    """Mean squared change of the action since the last step."""
    return jnp.mean((now.action - _before(now).action) ** 2, axis=-1)


def torque(now: Moment) -> Float[Array, " B"]:
    """Mean squared force of the actuators, as a share of the largest that they can have; of those
    without a limit in N^2, N^2 m^2."""
    high = np.abs(now.body.model.actuators.force_range).max(axis=-1)
    largest = np.where(np.isfinite(high), high, 1.0)
    return jnp.mean((now.forces / jnp.asarray(largest, now.q.dtype)) ** 2, axis=-1)


def power(now: Moment) -> Float[Array, " B"]:
    """Mechanical power of all actuators, brakes counted as motors [W]."""
    return jnp.sum(_length((now.forces * now.rates) ** 2, 1.0), axis=-1)


def foot_slip(now: Moment, sites: str = "foot", reach: float = 0.03) -> Float[Array, " B"]:
    """Squared horizontal velocity of sites near the ground, summed [m^2/s^2]; the weight of one
    falls as exp(-z^2 / reach^2) with its height z [m]. `sites` is a regular expression."""
    feet = _feet(now, sites, "foot_slip")
    places, moved = now.sites(feet), now.moved(feet)
    speed = jnp.sum(moved[..., :2] ** 2, axis=-1) / now.body.dt**2
    return jnp.sum(_near(places[..., 2] ** 2, reach) * speed, axis=-1)


def foot_clearance(now: Moment, sites: str = "foot", height: float = 0.08) -> Float[Array, " B"]:
    """Squared distance of sites from a height [m] while they move, summed: times their horizontal
    speed, up to 1 m/s. `sites` is a regular expression."""
    feet = _feet(now, sites, "foot_clearance")
    places, moved = now.sites(feet), now.moved(feet)
    speed = jnp.sqrt(jnp.sum(moved[..., :2] ** 2, axis=-1) + 1e-8) / now.body.dt
    return jnp.sum((places[..., 2] - height) ** 2 * jnp.tanh(speed), axis=-1)


def foot_swing(
    now: Moment, sites: str = "foot", height: float = 0.08, behind: tuple[float, ...] = ()
) -> Float[Array, " B"]:
    """Squared distance of sites from the heights of a gait, summed [m^2].

    A foot is at its height of the start for half of a cycle, and swings for the other half: up to
    `height` above it [m] and down again, as sin^2. `behind` says by which share of a cycle each
    foot is late; without it, feet swing one after another in the order of the file. `sites` is a
    regular expression.
    """
    feet = _feet(now, sites, "foot_swing")
    late = np.array(behind) if behind else np.arange(len(feet)) / len(feet)
    if len(late) != len(feet):
        raise SettingError(
            f"behind of foot_swing must have {len(feet)} numbers, one a foot: {', '.join(feet)}",
            "reward",
        )
    swing = jnp.sin(now.gait("foot_swing")[:, None] - 2 * np.pi * late)
    return jnp.sum((now.rise(feet) - height * jnp.maximum(swing, 0.0) ** 2) ** 2, axis=-1)


def target_distance(now: Moment, width: float = 0.02) -> Float[Array, " B"]:
    """Distance of the reaching site from its target, rounded within `width` [m]."""
    return _length(_to_target(now, "target_distance"), width)


def at_target(now: Moment, width: float = 0.1) -> Float[Array, " B"]:
    """exp(-d^2 / width^2) for a distance d of the reaching site from its target [m]."""
    return _near(_to_target(now, "at_target"), width)


def _near(squared: Array, width: float) -> Array:
    return jnp.exp(-squared / width**2)


def _length(squared: Array, width: float) -> Array:
    return jnp.sqrt(squared + width**2) - width


def _goal(now: Moment, term: str) -> Array:
    if now.goal is None:
        raise SettingError(
            f"'{term}' needs a goal: start from reward velocity or reach, or give goal", "reward"
        )
    return now.goal


def _velocity_error(now: Moment, term: str) -> Array:
    now.body.require_free(term)
    return now.velocity[:, :2] - _goal(now, term)[:, :2]


def _turn_error(now: Moment, term: str) -> Array:
    now.body.require_free(term)
    return now.spin[:, 2] - _goal(now, term)[:, 2]


def _to_target(now: Moment, term: str) -> Array:
    return jnp.sum((now.reaching - _goal(now, term)) ** 2, axis=-1)


def _before(now: Moment) -> Moment:
    assert now.before is not None, "a reward is of a step"
    return now.before


def _named(now: Moment, pattern: str, term: str) -> np.ndarray:
    found = [i for i, name in enumerate(now.body.joint_names) if re.search(pattern, name)]
    if not found:
        names = ", ".join(now.body.joint_names)
        raise SettingError(
            f"{term}: no driven joint has '{pattern}' in its name: {names}", "reward"
        )
    return np.array(found)


def _feet(now: Moment, pattern: str, term: str) -> tuple[str, ...]:
    """Names of the sites that match."""
    names = tuple(name for name in now.body.model.sites if re.search(pattern, name))
    if not names:
        known = ", ".join(now.body.model.sites) or "none"
        raise SettingError(f"{term}: no site has '{pattern}' in its name: {known}", "reward")
    return names


TERMS: dict[str, Callable[..., Array]] = {
    term.__name__: term
    for term in (
        alive,
        forward_velocity,
        upright,
        height,
        track_velocity,
        track_turn,
        velocity_error,
        turn_error,
        vertical_velocity,
        rocking,
        pose_error,
        joint_deviation,
        joint_speed,
        joint_limits,
        action_size,
        action_rate,
        torque,
        power,
        foot_slip,
        foot_clearance,
        foot_swing,
        target_distance,
        at_target,
    )
}
"""All terms by name."""

GOALS = {
    "command": ("track_velocity", "track_turn", "velocity_error", "turn_error"),
    "target": ("target_distance", "at_target"),
}
"""Terms that need a goal, by its kind."""


def weighted(weights: Mapping[str, Any]) -> Reward:
    """The sum of terms times their weights.

    Args:
        weights: by the term's name, a number; or a table of ``weight`` and the term's settings.

    Raises:
        SettingError: for an unknown term or setting, with near names, or a value that is none.
    """
    terms = [_weighted(name, value) for name, value in weights.items()]
    if not terms:
        raise SettingError("a reward needs at least one term", "reward")

    def reward(now: Moment) -> Array:
        return sum(weight * term(now) for weight, term in terms)  # pyright: ignore

    return reward


def _weighted(name: str, value: Any) -> tuple[float, Reward]:
    if name not in TERMS:
        raise SettingError(unknown("reward term", name, TERMS), "reward")
    settings = dict(value) if isinstance(value, Mapping) else {"weight": value}
    weight = settings.pop("weight", None)
    known = dict(list(inspect.signature(TERMS[name]).parameters.items())[1:])
    for setting, given in settings.items():
        if setting not in known:
            told = unknown(f"setting of {name}", setting, ["weight", *known])
            raise SettingError(told, "reward")
        kind = _kind(known[setting].default)
        if _kind(given) != kind:
            raise SettingError(f"{setting} of {name} must be {kind}, not {given!r}", "reward")
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not np.isfinite(weight):
        raise SettingError(
            f"the weight of {name} must be a finite number, not {weight!r}", "reward"
        )
    return float(weight), partial(TERMS[name], **settings)


def _kind(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "a list of numbers" if all(_kind(x) == "a number" for x in value) else "a list"
    return "a text" if isinstance(value, str) else "a number"
