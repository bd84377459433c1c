"""MuJoCo Playground's environments as tasks: ``playground:CartpoleBalance``."""

from __future__ import annotations

from typing import Any

from rfo.envs.adapters.stepped import Stepped
from rfo.errors import SettingError

try:
    from mujoco_playground import registry  # pyright: ignore[reportMissingImports]
except ImportError:
    raise SettingError(
        "mujoco_playground is not installed: pip install 'rfo[playground]'", "task"
    ) from None


class PlaygroundTask(Stepped):
    """An environment of MuJoCo Playground, without its wrappers, on MJX's physics in JAX.

    Args:
        source: its name, as in ``CartpoleBalance``.
        iterations: iterations of MJX's contact solver. With one, MJX has a gradient; more are a
            loop that JAX cannot differentiate, and 0 stands for the environment's own number.
        episode_length: control steps after which an episode is truncated; None for the
            environment's own.

    Raises:
        SettingError: for an unknown name, or a negative number of iterations.
    """

    def __init__(self, source: str, iterations: int = 1, episode_length: int | None = None):
        if source not in registry.ALL_ENVS:
            raise SettingError(
                f"MuJoCo Playground has no environment {source}; it has "
                f"{', '.join(registry.ALL_ENVS)}",
                "task",
            )
        if iterations < 0:
            raise SettingError(f"iterations must not be negative, not {iterations}", "iterations")
        config: Any = registry.get_default_config(source)
        env: Any = registry.load(source, config_overrides={"impl": "jax"})
        model = env.mjx_model
        if iterations:
            model = model.replace(opt=model.opt.replace(iterations=iterations))
            env._mjx_model = model  # noqa: SLF001
        super().__init__(
            env,
            f"playground:{source}",
            episode_length or int(config.episode_length),
            differentiable=int(model.opt.iterations) == 1,
        )
