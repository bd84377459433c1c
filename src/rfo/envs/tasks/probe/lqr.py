"""A closed-form task with linear dynamics and quadratic cost."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.base import EnvSpec, Step
from rfo.types import Array, Float, PRNGKey


@dataclass(frozen=True)
class LQR:
    """Linear dynamics ``x' = A x + B u`` with the reward ``-(x Q x + u R u)``.

    A double integrator with time step 0.2 s, Q = diag(1, 0.1) and R = 0.1. Episodes never
    terminate. The best policy for the discounted infinite horizon is ``u = -K x``. Its value is
    ``-x P x``, where P solves the discrete Riccati equation. Start states are so small that the
    best action stays within its bounds.
    """

    discount: float = 0.99
    episode_length: int = 64
    """Control steps after which an episode is truncated."""

    @property
    def spec(self) -> EnvSpec:
        """Sizes and properties of the task."""
        return EnvSpec("lqr", 2, 1, self.episode_length, dt=0.2)

    def reset(self, key: PRNGKey, batch: int) -> Float[Array, "B 2"]:
        """Draw states uniformly in [-0.15, 0.15]^2."""
        return jax.random.uniform(key, (batch, 2), minval=-0.15, maxval=0.15)

    def observe(self, state: Float[Array, "B 2"]) -> Float[Array, "B 2"]:
        """The state."""
        return state

    def step(self, state: Float[Array, "B 2"], action: Float[Array, "B 1"]) -> Step:
        """Compute the reward of state and action, then move."""
        u = jnp.clip(action, -1.0, 1.0)
        reward = -(jnp.sum((state @ self.Q) * state, -1) + jnp.sum((u @ self.R) * u, -1))
        after = state @ self.A.T + u @ self.B.T
        return Step(after, after, reward, jnp.zeros(len(state), bool))

    @property
    def A(self) -> np.ndarray:  # noqa: N802
        """Matrix of the dynamics, (2, 2)."""
        return np.array([[1.0, 0.2], [0.0, 1.0]])

    @property
    def B(self) -> np.ndarray:  # noqa: N802
        """Effect of the action on the state, (2, 1)."""
        return np.array([[0.0], [0.2]])

    @property
    def Q(self) -> np.ndarray:  # noqa: N802
        """Cost of the state, (2, 2)."""
        return np.diag([1.0, 0.1])

    @property
    def R(self) -> np.ndarray:  # noqa: N802
        """Cost of the action, (1, 1)."""
        return np.diag([0.1])

    def riccati(self) -> tuple[np.ndarray, np.ndarray]:
        """P (2, 2) and K (1, 2), found by iterating the Riccati map to its fixed point."""
        a, b = np.sqrt(self.discount) * self.A, np.sqrt(self.discount) * self.B
        p = self.Q
        for _ in range(2000):
            k = np.linalg.solve(self.R + b.T @ p @ b, b.T @ p @ a)
            p = self.Q + a.T @ p @ (a - b @ k)
        return p, k

    def best_action(self, state: Float[Array, "B 2"]) -> Float[Array, "B 1"]:
        """The best action ``-K x``."""
        return -state @ self.riccati()[1].T

    def value(self, state: Float[Array, "B 2"]) -> Float[Array, " B"]:
        """Discounted value of the best policy over an infinite horizon."""
        return -jnp.sum((state @ self.riccati()[0]) * state, -1)
