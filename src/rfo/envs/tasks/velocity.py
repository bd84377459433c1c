"""Walking robots that follow velocity commands: a Unitree Go2 and a Unitree G1.

Both are `rfo.envs.robot.Robot` with files, rewards and settings that suit them. A robot of one's
own is trained in the same way: docs/robots.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from rfo.envs.observations import Term
from rfo.envs.purposes import PURPOSES
from rfo.envs.rewards import Reward
from rfo.envs.rigid import asset
from rfo.envs.robot import Robot

DT = 1 / 50
"""Duration of a control step [s]."""
SUBSTEPS = 16
START_NOISE = 0.02
"""Largest deviation of coordinates and velocities at the start, in SI units."""
SLOWEST, FASTEST = (-0.5, -0.3, -0.5), (1.0, 0.3, 0.5)
"""Smallest and largest command: forward and to the left [m/s], turning to the left [rad/s]."""

GO2_REWARD: dict[str, Any] = {
    **PURPOSES["velocity"].reward,
    "foot_clearance": {"weight": -20.0, "height": 0.06},
    "foot_slip": -0.02,
}
G1_REWARD: dict[str, Any] = {
    **PURPOSES["velocity"].reward,
    "alive": 2.0,
    "velocity_error": -1.5,
    "track_turn": {"weight": 0.5, "width": 0.25},
    "turn_error": -0.5,
    "joint_deviation": -0.2,
    "joint_speed": -0.005,
    "action_rate": -0.5,
    "foot_swing": {"weight": -2000.0, "height": 0.05},
    "foot_slip": -0.05,
}
"""Without `foot_swing` the robot trembles forward, its soles on the ground."""
STRIDE = 0.7
"""Time of a cycle of the G1's gait [s]."""


def _follower(
    name: str,
    own_reward: Mapping[str, Any],
    lowest: float,
    action_mode: Literal["control", "position"],
    own_stride: float | None = None,
) -> Callable[..., Robot]:
    """What makes the task of a robot, by the settings that it leaves open."""

    def make(
        reward: Mapping[str, Any] | Reward | None = None,
        observe: tuple[str | Term, ...] | None = None,
        slowest: tuple[float, float, float] = SLOWEST,
        fastest: tuple[float, float, float] = FASTEST,
        stride: float | None = own_stride,
        start_noise: float = START_NOISE,
        observation_noise: Mapping[str, float] | None = None,
        episode_length: int = 500,
        substeps: int = SUBSTEPS,
        threads: int | None = None,
    ) -> Robot:
        """A walking robot follows a velocity command, which is drawn for each episode.

        Actions move the targets of its servos by up to 0.5 rad from its pose at the start.

        Args:
            reward: weights of `rfo.envs.rewards`; None: the robot's own.
            observe: terms of `rfo.envs.observations`; None: those of the reward `velocity`.
            slowest: smallest command, forward and to the left [m/s], turning to the left [rad/s].
            fastest: largest command, in the same order.
            stride: time of a gait's cycle [s]; None: no gait.
            start_noise: largest deviation from the pose at the start, in SI units.
            observation_noise: largest error of an observation's terms, by name.
            episode_length: control steps of 1/50 s after which an episode is truncated.
            substeps: integration steps per control step.
            threads: CPU threads of the physics; by default as many as speed up the batch.
        """
        return Robot(
            asset(name, substep=DT / substeps),
            reward or own_reward,
            observe=observe,
            goal="command",
            slowest=slowest,
            fastest=fastest,
            action_mode=action_mode,
            stride=stride,
            start_noise=start_noise,
            observation_noise=observation_noise,
            lowest=lowest,
            dt=DT,
            substeps=substeps,
            episode_length=episode_length,
            name=f"{name}_velocity",
            threads=threads,
        )

    return make


go2 = _follower("go2", GO2_REWARD, lowest=0.15, action_mode="control")
"""A Unitree Go2 (12 joints). The file has its servos, 40 N m/rad and 1 N m s/rad, as springs."""
g1 = _follower("g1", G1_REWARD, lowest=0.5, action_mode="position", own_stride=STRIDE)
"""A Unitree G1 (29 joints), which starts with bent knees. Only its soles touch the ground."""
