"""A closed-form task whose best policy has two modes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from rfo.envs.base import EnvSpec, Step
from rfo.types import Array, Bool, Float, PRNGKey


class BimodalState(NamedTuple):
    """State of `Bimodal`."""

    first: Float[Array, " B"]
    """Action of the first step, which the observation hides; 0 before it."""
    second: Bool[Array, " B"]
    """Whether the next step is the second one."""


@dataclass(frozen=True)
class Bimodal:
    """Two steps with the same observation; the best actions are *different* and near two wells.

    The observation is constant, so a policy without memory draws both actions from one
    distribution. The second step pays the return

    ``-c (a1^2 - w^2)^2 - c (a2^2 - w^2)^2 + k (a1 - a2)^2``.

    For independent actions, its expectation is ``2 E[-c (a^2 - w^2)^2 + k a^2] - 2 k E[a]^2``. The
    first term is at most its pointwise maximum, reached at ``a^2 = w^2 + k / 2c = mode^2``. The
    second term is at most 0. So the best of *all* distributions takes +`mode` and -`mode` with
    probability one half each. A deterministic policy earns at most 0. A Gaussian squashed by tanh
    earns at most `best_gaussian_return`, because it must put mass between the wells or miss one of
    them. A flow can split the noise.
    """

    mode: float = 0.6
    """Magnitude of the best actions."""
    well: float = 8.0
    """Steepness c of the wells."""
    repulsion: float = 1.0
    """Weight k of the difference between the two actions."""

    @property
    def spec(self) -> EnvSpec:
        """Sizes and properties of the task."""
        return EnvSpec("bimodal", 1, 1, episode_length=10, dt=1.0)

    def reset(self, key: PRNGKey, batch: int) -> BimodalState:
        """The start state, the same for every episode."""
        del key
        return BimodalState(jnp.zeros(batch), jnp.zeros(batch, bool))

    def observe(self, state: BimodalState) -> Float[Array, "B 1"]:
        """A constant."""
        return jnp.zeros((len(state.first), 1))

    def step(self, state: BimodalState, action: Float[Array, "B 1"]) -> Step:
        """Store the first action, or pay for both and terminate."""
        a = jnp.clip(action, -1.0, 1.0)[:, 0]
        paid = self.wells(state.first) + self.wells(a) + self.repulsion * (a - state.first) ** 2
        after = BimodalState(jnp.where(state.second, state.first, a), ~state.second)
        return Step(after, self.observe(after), jnp.where(state.second, paid, 0.0), state.second)

    def wells(self, action: Array | np.ndarray) -> Array | np.ndarray:
        """Reward ``-c (a^2 - w^2)^2`` of an action."""
        return -self.well * (action**2 - self.mode**2 + self.repulsion / (2 * self.well)) ** 2

    @property
    def best_return(self) -> float:
        """Undiscounted return of +`mode` and -`mode` with probability one half each."""
        return 2 * self.repulsion * self.mode**2 - self.repulsion**2 / (2 * self.well)

    def expected_return(self, actions: np.ndarray, weights: np.ndarray) -> float:
        """Expected return of a policy that draws each action independently.

        Args:
            actions: (N,) possible actions.
            weights: (N,) their probabilities.
        """
        second_moment = weights @ actions**2
        return float(
            2 * weights @ np.asarray(self.wells(actions))
            + 2 * self.repulsion * (second_moment - (weights @ actions) ** 2)
        )

    def best_gaussian_return(self) -> float:
        """Largest return of ``tanh(mean + sigma noise)``, by quadrature on a grid of both."""
        noise = np.linspace(-8.0, 8.0, 2001)
        weights = np.exp(-0.5 * noise**2)
        weights /= weights.sum()
        return max(
            self.expected_return(np.tanh(mean + sigma * noise), weights)
            for mean in np.linspace(0.0, 1.5, 31)
            for sigma in np.geomspace(0.01, 20.0, 120)
        )
