"""The rewards of a robot that have a name, and what goes with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from rfo.envs.rewards import GOALS
from rfo.errors import SettingError, unknown
from rfo.physics.kinematics import rotate
from rfo.physics.model import Joint, Model

Goal = Literal["none", "command", "target"]


class Purpose(NamedTuple):
    """What goes with a reward's name; every part can be set on its own."""

    reward: Mapping[str, Any]
    """Weights of `rfo.envs.rewards`."""
    observe: tuple[str, ...]
    """Terms of `rfo.envs.observations`."""
    goal: Goal = "none"
    """What is drawn for each episode: a velocity to follow, or a place to reach."""
    tilt: float | None = None
    """Lean of the trunk beyond which an episode terminates [rad]."""


BODY = ("velocity", "angular_velocity", "projected_gravity")
JOINTS = ("joint_positions", "joint_velocities", "last_action")

PURPOSES: dict[str, Purpose] = {
    "forward": Purpose(
        {"forward_velocity": 1.0, "action_size": -0.1},
        ("coordinates_off_the_ground", "velocities", "activations"),
    ),
    "hold": Purpose(
        {"pose_error": -1.0, "action_size": -0.1}, ("coordinates", "velocities", "activations")
    ),
    "stand": Purpose(
        {
            "upright": 1.0,
            "height": {"weight": 1.0, "width": 0.1},
            "joint_deviation": -1.0,
            "joint_speed": -0.01,
            "action_rate": -0.1,
        },
        ("height", *BODY, *JOINTS, "activations"),
        tilt=1.2,
    ),
    "velocity": Purpose(
        {
            "alive": 1.5,  # with less, beginners fall; with more, they stand still
            "track_velocity": {"weight": 1.0, "width": 0.25},
            "velocity_error": -2.0,
            "track_turn": {"weight": 0.75, "width": 0.25},
            "turn_error": -1.0,
            "upright": 0.2,
            "vertical_velocity": -0.2,
            "rocking": -0.05,
            "joint_deviation": -0.1,
            "action_rate": -0.05,
        },
        (*BODY, "goal", *JOINTS, "activations"),
        goal="command",
        tilt=1.2,
    ),
    "reach": Purpose(
        {
            "target_distance": -1.0,
            "at_target": 1.0,
            "joint_speed": -0.01,
            "action_rate": -0.1,
        },
        ("coordinates", "velocities", "to_target", "last_action", "activations"),
        goal="target",
    ),
}
"""By name."""


def purpose_of(reward: Any, goal: Goal | None, model: Model) -> Purpose:
    """What goes with a reward and a goal that were asked for, see `rfo.envs.robot.Robot`.

    Raises:
        SettingError: for an unknown name, or another kind of value.
    """
    own = "forward" if _runs(model) else "hold"
    if isinstance(reward, str) and reward not in PURPOSES:
        raise SettingError(unknown("reward", reward, PURPOSES), "reward")
    if isinstance(reward, str) or reward is None:
        purpose = PURPOSES[reward or own]
    else:
        if not (callable(reward) or isinstance(reward, Mapping)):
            raise SettingError(
                f"reward must be a name, a table of weights or a function, not {reward!r}", "reward"
            )
        weights = {} if callable(reward) else reward
        needed = [k for k, terms in GOALS.items() if any(term in weights for term in terms)]
        if len(needed) > 1:
            raise SettingError("a reward follows a command or reaches a target, not both", "reward")
        of_goal = {"command": "velocity", "target": "reach", "none": own}
        purpose = PURPOSES[of_goal[goal or next(iter(needed), "none")]]._replace(reward=weights)
    return purpose if goal is None else purpose._replace(goal=goal)


def _runs(model: Model) -> bool:
    """Whether the first joint is free, or a slide along the world's x."""
    along = np.asarray(rotate(jnp.asarray(model.quat[0]), jnp.asarray(model.axis[0])))
    slides = model.joint[0] == Joint.SLIDE and along[0] > 0.999
    return bool(model.joint[0] == Joint.FREE or slides)
