"""Evaluation of a policy: a fixed number of episodes in *every* environment.

Counting the first episodes that finish in any environment would favour short ones. Here each
environment runs until it has finished its share. There are two protocols: stochastic actions (the
SAPO paper's: final policy, 2 x environments episodes) and deterministic ones (noise zero).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rfo.algos.base import Policy
from rfo.envs.base import Renderable
from rfo.envs.batch import Batch, BatchState
from rfo.types import Array, PRNGKey

FIRST_EVALUATION_KEY = 2**31
"""Number folded into a seed's key for its evaluations, beyond all that trainings split off."""

STRETCH = 100
"""Steps of the batch in one compiled call; between two calls the evaluation may stop."""


@dataclass(frozen=True)
class Episodes:
    """Finished episodes, n per environment.

    `frames` and `reward` follow the first episode of the first environment, N steps long.
    """

    returns: np.ndarray
    """(n, B) undiscounted return [reward]."""
    lengths: np.ndarray
    """(n, B) length [control steps]."""
    nonfinite: np.ndarray
    """(n, B) whether the episode ended because something was not finite."""
    frames: dict[str, np.ndarray]
    """Arrays of `rfo.envs.base.Renderable.frame` before each step, with N in place of B; empty for
    a task without a scene."""
    reward: np.ndarray
    """(N,) reward of each step."""


class _Tally(NamedTuple):
    """Episodes that each environment has finished, and the results of its first n."""

    finished: Array  # (B,)
    returns: Array  # (n, B)
    lengths: Array  # (n, B)
    nonfinite: Array  # (n, B)


def shares(episodes: int, environments: int) -> tuple[int, int]:
    """Environments B and episodes per environment n for at least so many episodes.

    n B is at least `episodes`, as little above as equal shares allow, and B at most `environments`.
    """
    per_environment = -(-episodes // environments)
    return -(-episodes // per_environment), per_environment


class Evaluator:
    """Episodes of any policy on one batch of environments; compiled at the first call.

    Args:
        env: the batch of B environments; episodes start at the task's reset.
        deterministic: act with noise zero.
    """

    def __init__(self, env: Batch, deterministic: bool):
        self.env, self.deterministic = env, deterministic
        self._start, self._stretch = eqx.filter_jit(env.init), eqx.filter_jit(self._steps)

    def __call__(self, policy: Policy, key: PRNGKey, per_environment: int = 2) -> Episodes:
        """Run `per_environment` episodes n in each environment.

        Args:
            policy: a pytree that acts.
            key: drives resets and, unless deterministic, the policy's noise.
            per_environment: at least 1.
        """
        n = per_environment
        start_key, act_key = jax.random.split(key)
        state = self._start(start_key)
        empty = jnp.zeros((n, self.env.size))
        tally = _Tally(jnp.zeros(self.env.size, jnp.int32), empty, empty, empty)
        traces = []
        for _ in range(-(-n * self.env.spec.episode_length // STRETCH)):
            act_key, stretch_key = jax.random.split(act_key)
            state, tally, trace = self._stretch(policy, state, tally, stretch_key)
            traces.append(jax.device_get(trace))
            if bool(jnp.all(tally.finished >= n)):
                break
        reward, done, frames = jax.tree.map(lambda *parts: np.concatenate(parts), *traces)
        steps = int(np.argmax(done)) + 1
        return Episodes(
            returns=np.asarray(tally.returns, np.float64),
            lengths=np.asarray(tally.lengths).astype(int),
            nonfinite=np.asarray(tally.nonfinite) > 0,
            frames={name: array[:steps] for name, array in frames.items()},
            reward=reward[:steps],
        )

    def _steps(self, policy: Policy, state: BatchState, tally: _Tally, key: PRNGKey):
        """`STRETCH` steps; also returns reward, done and frame of environment 0 at each."""

        def step(carry: tuple[BatchState, _Tally], key: PRNGKey):
            state, tally = carry
            out = self.env.step(
                state, policy(state.observation, None if self.deterministic else key)
            )
            running = jnp.arange(len(tally.returns))[:, None] == tally.finished
            here = running & out.done
            task = self.env.task
            frame = task.frame(state.task) if isinstance(task, Renderable) else {}
            trace = out.reward[0], out.done[0], {name: array[0] for name, array in frame.items()}
            tally = _Tally(
                finished=tally.finished + out.done,
                returns=jnp.where(here, out.episode_return, tally.returns),
                lengths=jnp.where(here, out.episode_length, tally.lengths),
                nonfinite=jnp.where(here, out.nonfinite, tally.nonfinite),
            )
            return (out.state, tally), trace

        (state, tally), trace = jax.lax.scan(step, (state, tally), jax.random.split(key, STRETCH))
        return state, tally, trace


def evaluation_key(seed: int, deterministic: bool) -> PRNGKey:
    """Key of an evaluation's episodes.

    ``jax.random.split(key, n)[i]`` is ``fold_in(key, i)``: folding in small numbers would give an
    evaluation the keys from which the training with the same seed made its networks.
    """
    return jax.random.fold_in(jax.random.key(seed), FIRST_EVALUATION_KEY + deterministic)


def summarise(episodes: Episodes, deterministic: bool) -> dict[str, Any]:
    """Statistics of the episodes' returns, ready for JSON.

    `mean`, `std` (of one episode, n - 1), `iqm` (mean of the middle half), `interval` (95 %, of the
    mean, Student's t), `episodes`, `episodes_per_environment`, `deterministic`, `length_mean`
    [control steps], `nonfinite_episodes`, and all `returns`. With one episode `std` and `interval`
    are NaN.
    """
    returns = episodes.returns.ravel()
    n = len(returns)
    mean = float(returns.mean())
    std = float(returns.std(ddof=1)) if n > 1 else float("nan")
    return {
        "mean": mean,
        "std": std,
        "iqm": float(np.sort(returns)[n // 4 : n - n // 4].mean()),
        "interval": mean_interval(returns),
        "episodes": n,
        "episodes_per_environment": len(episodes.returns),
        "deterministic": deterministic,
        "length_mean": float(episodes.lengths.mean()),
        "nonfinite_episodes": int(episodes.nonfinite.sum()),
        "returns": returns,
    }


def mean_interval(values: np.ndarray) -> list[float]:
    """95 % interval of the mean of n values, Student's t; NaN for one value."""
    n, mean = len(values), float(values.mean())
    if n < 2:
        return [float("nan")] * 2
    from scipy.special import stdtrit  # slow to import, and needed at the end of a run only

    half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
    return [mean - half, mean + half]
