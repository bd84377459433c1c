"""The task of an MJCF file, `rfo.envs.tasks.robot`, under its earlier name."""

from rfo.envs.tasks.robot import Robot, forward

__all__ = ["Robot", "forward"]
