"""Brax's environments as tasks: ``brax:ant``."""

from __future__ import annotations

from rfo.envs.adapters.stepped import Stepped
from rfo.errors import SettingError, require_known

try:
    from brax import envs  # pyright: ignore[reportMissingImports]
except ImportError:
    raise SettingError("brax is not installed: pip install 'rfo[brax]'", "task") from None

EPISODE_LENGTH = 1000
"""Brax's own default [control steps]."""
BACKENDS = ("generalized", "positional", "spring")
"""Backends with a gradient; MJX is reached through MuJoCo Playground."""


class BraxTask(Stepped):
    """An environment of Brax, without its wrappers.

    Args:
        source: its name, as in ``ant``.
        backend: physics: generalized, positional or spring.
        episode_length: control steps after which an episode is truncated.

    Raises:
        SettingError: for an unknown name or backend.
    """

    def __init__(self, source: str, backend: str = "spring", episode_length: int = EPISODE_LENGTH):
        require_known(backend, BACKENDS, "backend")
        known = sorted(envs._envs)  # noqa: SLF001
        if source not in known:
            raise SettingError(f"Brax has no environment {source}: {', '.join(known)}", "task")
        env = envs.get_environment(source, backend=backend)
        super().__init__(env, f"brax:{source}", episode_length, differentiable=True)
