"""Minari's datasets as demonstrations."""

from __future__ import annotations

from typing import Any

import rfo
from rfo.errors import SettingError

try:
    import minari  # pyright: ignore[reportMissingImports]
    from gymnasium import spaces

    from rfo.envs.adapters.gymnasium import unit_actions
except ImportError:
    raise SettingError("minari is not installed: pip install 'rfo[minari]'", "data") from None


def demonstrations(name: str, episodes: int | None = None) -> rfo.Demonstrations:
    """Episodes of a dataset that is on this machine (``minari download NAME`` brings one).

    Actions are mapped from the bounds of their space to [-1, 1].

    Args:
        name: the dataset's, as in ``mujoco/hopper/expert-v0``.
        episodes: at most so many, the first ones; None for all.

    Raises:
        SettingError: if there is no such dataset, or its actions or observations are no vectors.
    """
    try:
        data = minari.load_dataset(name)
    except FileNotFoundError:
        raise SettingError(
            f"no dataset {name} on this machine: minari download {name}", "data"
        ) from None
    space = data.action_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise SettingError(f"{name} has actions in {space}; only vectors can be cloned", "data")
    if not isinstance(data.observation_space, spaces.Box | spaces.Dict):
        raise SettingError(
            f"{name} has observations in {data.observation_space}; only boxes can be read", "data"
        )
    found = list(data.iterate_episodes(range(data.total_episodes)[:episodes]))
    return rfo.Demonstrations.of_episodes(
        [
            (_before_steps(x.observations), unit_actions(x.actions, space), x.rewards.sum())
            for x in found
        ],
        name,
    )


def _before_steps(observations: Any) -> Any:
    """A dataset keeps one observation more than actions: the last one."""
    if isinstance(observations, dict):
        return {name: x[:-1] for name, x in observations.items()}
    return observations[:-1]
