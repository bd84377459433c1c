"""Our tasks as Gymnasium's environments, alone and in batches.

Importing this module registers every known task: `ant` is ``rfo/Ant-v0``, `soft_jumper_small` is
``rfo/SoftJumperSmall-v0``. `gymnasium.make` and `gymnasium.make_vec` take the tasks' own settings
and `threads`.

Example:
    >>> import gymnasium
    >>> import rfo.envs.adapters.gymnasium
    >>> env = gymnasium.make_vec("rfo/Lqr-v0", num_envs=4)
    >>> observation, _ = env.reset(seed=0)
    >>> observation.shape
    (4, 2)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

import rfo
from rfo.envs.base import EnvSpec
from rfo.envs.batch import BatchState, BatchStep
from rfo.errors import SettingError
from rfo.types import PRNGKey

try:
    import gymnasium
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ImportError:
    raise ImportError("gymnasium is not installed: pip install 'rfo[gymnasium]'") from None


class Task(gymnasium.Env):
    """One environment of a task. It is not reset by itself.

    Args:
        task: name of a known task, an MJCF file, or a task of your own as ``my_task.py:Reach``.
        threads: CPU threads of the physics.
        options: the task's own settings.
    """

    def __init__(self, task: str, threads: int | None = None, **options: Any):
        self._programs = _programs(task, 1, threads, tuple(sorted(options.items())))
        spec = self._programs.spec
        self.metadata = {"render_modes": []}
        self.observation_space, self.action_space = observations(spec), actions(spec)
        self._state: BatchState | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; a seed determines it and the ones after it."""
        super().reset(seed=seed)
        self._state = self._programs.init(_key(self.np_random))
        return _first(self._state.observation), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One control step. The observation is the one before any reset."""
        if self._state is None:
            raise SettingError("call reset before step")
        step = self._programs.step(self._state, np.asarray(action, np.float32)[None])
        self._state = step.state
        ends = bool(step.terminated[0]), bool(step.truncated[0])
        return _first(step.next_observation), float(step.reward[0]), *ends, {}


class Tasks(VectorEnv):
    """B environments of a task, simulated together.

    An environment whose episode ends is reset in the same step (`AutoresetMode.SAME_STEP`). The
    last observation of its episode is then in ``infos["final_obs"]``, for the environments that the
    mask ``infos["_final_obs"]`` names; ``infos["final_info"]`` is empty. Bootstrap from it where an
    episode was truncated.

    Args:
        task: name of a known task, an MJCF file, or a task of your own as ``my_task.py:Reach``.
        num_envs: B.
        threads: CPU threads of the physics.
        options: the task's own settings.
    """

    def __init__(self, task: str, num_envs: int = 1, threads: int | None = None, **options: Any):
        self._programs = _programs(task, num_envs, threads, tuple(sorted(options.items())))
        spec = self._programs.spec
        self.num_envs = num_envs
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = observations(spec)
        self.single_action_space = actions(spec)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._state: BatchState | None = None

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every environment. One seed determines them and all that follow."""
        if isinstance(seed, list):
            raise SettingError("seed must be one number, which seeds all environments", "seed")
        super().reset(seed=seed)
        self._state = self._programs.init(_key(self.np_random))
        return _numpy(self._state.observation), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One control step, then a reset where an episode ended."""
        if self._state is None:
            raise SettingError("call reset before step")
        step = self._programs.step(self._state, np.asarray(actions, np.float32))
        self._state = step.state
        reward, terminated, truncated = _numpy((step.reward, step.terminated, step.truncated))
        infos: dict[str, Any] = {}
        ended = terminated | truncated
        if ended.any():
            last = _numpy(step.next_observation)
            final = np.full(self.num_envs, None, object)
            for i in np.flatnonzero(ended):
                final[i] = jax.tree.map(lambda x, i=i: x[i], last)
            infos = {"final_obs": final, "_final_obs": ended}
            infos |= {"final_info": {}, "_final_info": ended.copy()}
        return _numpy(step.state.observation), reward.astype(float), terminated, truncated, infos


class Recorder(gymnasium.Wrapper):
    """Keeps the episodes of any Gymnasium environment as demonstrations for `rfo.clone`.

    Whoever acts in the environment, a program, a person or another library's policy, demonstrates.

    Args:
        env: has vectors as observations (or a dict of arrays) and as actions.
        task: name of the task that the demonstrations are of.

    Raises:
        SettingError: if actions are no vectors.

    Example:
        >>> import gymnasium
        >>> from rfo.envs.adapters.gymnasium import Recorder
        >>> env = Recorder(gymnasium.make("rfo/Lqr-v0", episode_length=4), task="lqr")
        >>> _ = env.reset(seed=0)
        >>> for _ in range(4):
        ...     _ = env.step(env.action_space.sample())
        >>> env.demonstrations()
        <rfo.Demonstrations of lqr: 1 episodes, 4 steps, mean return -0.0...>
    """

    def __init__(self, env: gymnasium.Env, task: str = ""):
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise SettingError(f"actions must be vectors, not in {space}", "action")
        self._box, self._task = space, task
        self._whole: list[tuple[Any, np.ndarray, float]] = []
        self._now: list[tuple[Any, Any, float]] = []
        self._seen: Any = None

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Start an episode; one that has not come to its end is forgotten."""
        self._now = []
        self._seen, info = self.env.reset(**arguments)
        return self._seen, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One control step, kept."""
        seen, reward, terminated, truncated, info = self.env.step(action)
        self._now.append((self._seen, np.array(action), float(reward)))
        self._seen = seen
        if terminated or truncated:
            states, actions, rewards = zip(*self._now, strict=True)
            states = jax.tree.map(lambda *x: np.stack(x), *states)
            actions = unit_actions(np.stack(actions), self._box)
            self._whole.append((states, actions, sum(rewards)))
            self._now = []
        return seen, reward, terminated, truncated, info

    def demonstrations(self) -> rfo.Demonstrations:
        """The episodes that came to their end; actions are mapped to [-1, 1].

        Raises:
            SettingError: if there is none.
        """
        if not self._whole:
            raise SettingError("no episode has come to its end yet", "data")
        return rfo.Demonstrations.of_episodes(self._whole, self._task)


def unit_actions(action: np.ndarray, space: spaces.Box) -> np.ndarray:
    """Actions mapped from the bounds of their space to [-1, 1]; without bounds they are clipped.

    Args:
        action: (N, A).
        space: the bounds.
    """
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    low, high = np.where(bounded, space.low, -1.0), np.where(bounded, space.high, 1.0)
    return np.clip(2 * (action - low) / (high - low) - 1, -1, 1).astype(np.float32)


def observations(spec: EnvSpec) -> spaces.Space[Any]:
    """Space of a task's observations: a box, or a dict of boxes."""

    def box(*shape: int) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, shape, np.float32)

    if isinstance(spec.observation, int):
        return box(spec.observation)
    return spaces.Dict({name: box(*shape) for name, shape in sorted(spec.observation.items())})


def actions(spec: EnvSpec) -> spaces.Box:
    """Space of a task's actions."""
    return spaces.Box(-1.0, 1.0, (spec.action_size,), np.float32)


def gymnasium_id(task: str) -> str:
    """The name under which Gymnasium knows a task: ``rfo/SoftWorm-v0`` for ``soft_worm``."""
    return f"rfo/{''.join(part.capitalize() for part in task.split('_'))}-v0"


def register() -> None:
    """Register all known tasks that are not registered yet."""
    for task in rfo.tasks():
        name = gymnasium_id(task)
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point=f"{__name__}:Task",
                vector_entry_point=f"{__name__}:Tasks",
                kwargs={"task": task},
            )


class _Programs(NamedTuple):
    """Compiled start and step of a batch of environments."""

    spec: EnvSpec
    init: Callable[[PRNGKey], BatchState]
    step: Callable[[BatchState, np.ndarray], BatchStep]


@lru_cache(maxsize=8)
def _programs(
    task: str, size: int, threads: int | None, options: tuple[tuple[str, Any], ...]
) -> _Programs:
    """The same programs for equal arguments, so that they are compiled once."""
    env = rfo.make(task, size, threads=threads, **dict(options))
    return _Programs(env.spec, jax.jit(env.init), jax.jit(env.step))


def _key(generator: np.random.Generator) -> PRNGKey:
    return jax.random.key(int(generator.integers(2**32)))


def _numpy(tree: Any) -> Any:
    """Copies that the caller may write to."""
    return jax.tree.map(np.array, tree)


def _first(observation: Any) -> Any:
    return jax.tree.map(lambda x: np.array(x[0]), observation)


register()
