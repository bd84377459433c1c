"""Closed-form tasks: what the best policy, its value and its gradient are is known, so that learning
can be checked against arithmetic instead of against hope.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.base import EnvSpec, Step
from rfo.types import Array, Float, Int, Observation, PRNGKey


def _clip(action: Array) -> Array:
    return jnp.clip(action, -1.0, 1.0)


@dataclass(frozen=True)
class Quadratic:
    """One step: reward ``-|a - target(s)|^2`` with ``target(s) = s / 2``, s uniform in [-1, 1]^size.

    The best action is the target, its value 0, the reward's gradient ``-2 (a - target)``.
    """

    size: int = 2

    @property
    def spec(self) -> EnvSpec:
        """Episodes terminate after their only step."""
        return EnvSpec("quadratic", self.size, self.size, episode_length=10, dt=1.0)

    def reset(self, key: PRNGKey, batch: int) -> Float[Array, "B size"]:
        """Uniform states."""
        return jax.random.uniform(key, (batch, self.size), minval=-1.0, maxval=1.0)

    def observe(self, state: Float[Array, "B size"]) -> Float[Array, "B size"]:
        """The state."""
        return state

    def step(self, state: Float[Array, "B size"], action: Float[Array, "B size"]) -> Step:
        """Pay and terminate."""
        reward = -jnp.sum((_clip(action) - self.best_action(state)) ** 2, axis=-1)
        return Step(state, state, reward, jnp.ones(len(state), bool))

    def best_action(self, state: Float[Array, "B size"]) -> Float[Array, "B size"]:
        """The target."""
        return state / 2

    def value(self, state: Float[Array, "B size"]) -> Float[Array, " B"]:
        """Of the best policy."""
        return jnp.zeros(len(state))

    def reward_gradient(
        self, state: Float[Array, "B size"], action: Float[Array, "B size"]
    ) -> Float[Array, "B size"]:
        """Of the reward, in the action."""
        return -2 * (action - self.best_action(state))


@dataclass(frozen=True)
class ReachCloud:
    """One step, a dict observation: reward ``-|a - target(s)|^2``, target the mean of the points + offset.

    In each coordinate the mean of the points has 1.01 and the offset 0.16 parts of the target's variance:
    a policy that does not see the points explains no more than 0.16 / 1.17, one seventh, of it.
    """

    points: int = 16

    @property
    def spec(self) -> EnvSpec:
        """Episodes terminate after their only step."""
        shapes = {"cloud": (self.points, 3), "offset": (3,)}
        return EnvSpec("reach_cloud", shapes, 3, episode_length=10, dt=1.0)

    def reset(self, key: PRNGKey, batch: int) -> Observation:
        """A cube of points with half edge 0.2, its middle in [-0.5, 0.5]^3; offset in [-0.2, 0.2]^3."""
        middle, scatter, offset = (
            jax.random.uniform(k, (batch, *shape), minval=-largest, maxval=largest)
            for k, shape, largest in zip(
                jax.random.split(key, 3),
                [(1, 3), (self.points, 3), (3,)],
                [0.5, 0.2, 0.2],
                strict=True,
            )
        )
        return {"cloud": middle + scatter, "offset": offset}

    def observe(self, state: Observation) -> Observation:
        """The state."""
        return state

    def step(self, state: dict[str, Array], action: Float[Array, "B 3"]) -> Step:
        """Pay and terminate."""
        reward = -jnp.sum((_clip(action) - self.best_action(state)) ** 2, axis=-1)
        return Step(state, state, reward, jnp.ones(len(reward), bool))

    def best_action(self, state: dict[str, Array]) -> Float[Array, "B 3"]:
        """The target; at most 0.9."""
        return state["cloud"].mean(1) + state["offset"]

    def value(self, state: dict[str, Array]) -> Float[Array, " B"]:
        """Of the best policy."""
        return jnp.zeros(len(state["offset"]))


@dataclass(frozen=True)
class LQR:
    """Linear dynamics ``x' = A x + B u``, reward ``-(x Q x + u R u)``, truncated by the clock only.

    A double integrator with time step 0.2 s, Q = diag(1, 0.1), R = 0.1. The best policy for the
    discounted infinite horizon is ``u = -K x``, its value ``-x P x`` with P the solution of the discrete
    Riccati equation. Starting states are small enough that the best action never meets the bounds.
    """

    discount: float = 0.99
    episode_length: int = 64

    @property
    def spec(self) -> EnvSpec:
        """Two observations, one action."""
        return EnvSpec("lqr", 2, 1, self.episode_length, dt=0.2)

    def reset(self, key: PRNGKey, batch: int) -> Float[Array, "B 2"]:
        """Uniform in [-0.15, 0.15]^2."""
        return jax.random.uniform(key, (batch, 2), minval=-0.15, maxval=0.15)

    def observe(self, state: Float[Array, "B 2"]) -> Float[Array, "B 2"]:
        """The state."""
        return state

    def step(self, state: Float[Array, "B 2"], action: Float[Array, "B 1"]) -> Step:
        """Pay for state and action, then move."""
        u = _clip(action)
        reward = -(jnp.sum((state @ self.Q) * state, -1) + jnp.sum((u @ self.R) * u, -1))
        after = state @ self.A.T + u @ self.B.T
        return Step(after, after, reward, jnp.zeros(len(state), bool))

    @property
    def A(self) -> np.ndarray:  # noqa: N802
        """Dynamics (2, 2)."""
        return np.array([[1.0, 0.2], [0.0, 1.0]])

    @property
    def B(self) -> np.ndarray:  # noqa: N802
        """Influence of the action (2, 1)."""
        return np.array([[0.0], [0.2]])

    @property
    def Q(self) -> np.ndarray:  # noqa: N802
        """Cost of the state (2, 2)."""
        return np.diag([1.0, 0.1])

    @property
    def R(self) -> np.ndarray:  # noqa: N802
        """Cost of the action (1, 1)."""
        return np.diag([0.1])

    def riccati(self) -> tuple[np.ndarray, np.ndarray]:
        """P (2, 2) and K (1, 2), by iterating the Riccati map to its fixed point."""
        a, b = np.sqrt(self.discount) * self.A, np.sqrt(self.discount) * self.B
        p = self.Q
        for _ in range(2000):
            k = np.linalg.solve(self.R + b.T @ p @ b, b.T @ p @ a)
            p = self.Q + a.T @ p @ (a - b @ k)
        return p, k

    def best_action(self, state: Float[Array, "B 2"]) -> Float[Array, "B 1"]:
        """``-K x``."""
        return -state @ self.riccati()[1].T

    def value(self, state: Float[Array, "B 2"]) -> Float[Array, " B"]:
        """Of the best policy, discounted, over an infinite horizon."""
        return -jnp.sum((state @ self.riccati()[0]) * state, -1)


class CountdownState(NamedTuple):
    """Steps left and the target of the present step."""

    left: Int[Array, " B"]
    target: Float[Array, " B"]


@dataclass(frozen=True)
class Terminating:
    """Reward ``1 - (a - target)^2`` per step; the episode *terminates* when its steps are used up.

    The observation is (steps left / `life`, target); the target is fixed per episode. Lives start at
    random ages, so episodes end all over a rollout. The best policy's value with n steps left is
    ``1 + g + ... + g^(n-1)``: 0 beyond the end.
    """

    life: int = 5
    discount: float = 0.99

    @property
    def spec(self) -> EnvSpec:
        """The clock never comes into play."""
        return EnvSpec("terminating", 2, 1, episode_length=10 * self.life, dt=1.0)

    def reset(self, key: PRNGKey, batch: int) -> CountdownState:
        """Uniform steps left in 1 .. `life`, uniform target in [-0.6, 0.6]."""
        life_key, target_key = jax.random.split(key)
        return CountdownState(
            jax.random.randint(life_key, (batch,), 1, self.life + 1),
            jax.random.uniform(target_key, (batch,), minval=-0.6, maxval=0.6),
        )

    def observe(self, state: CountdownState) -> Float[Array, "B 2"]:
        """Share of life left, and the target."""
        return jnp.stack([state.left / self.life, state.target], axis=-1)

    def step(self, state: CountdownState, action: Float[Array, "B 1"]) -> Step:
        """Pay and count down."""
        reward = 1 - (_clip(action)[:, 0] - state.target) ** 2
        after = CountdownState(state.left - 1, state.target)
        return Step(after, self.observe(after), reward, after.left == 0)

    def best_action(self, state: CountdownState) -> Float[Array, "B 1"]:
        """The target."""
        return state.target[:, None]

    def value(self, state: CountdownState) -> Float[Array, " B"]:
        """Of the best policy."""
        return (1 - self.discount**state.left) / (1 - self.discount)


@dataclass(frozen=True)
class Truncating:
    """Reward ``1 - (a - target)^2`` per step for ever; the clock *truncates* the episode.

    The observation is the target alone, which stays for the episode. Because a truncation is no end,
    the best policy's value is ``1 / (1 - discount)`` in every state.
    """

    episode_length: int = 5
    discount: float = 0.9

    @property
    def spec(self) -> EnvSpec:
        """Ends by the clock only."""
        return EnvSpec("truncating", 1, 1, self.episode_length, dt=1.0)

    def reset(self, key: PRNGKey, batch: int) -> Float[Array, "B 1"]:
        """Uniform target in [-0.6, 0.6]."""
        return jax.random.uniform(key, (batch, 1), minval=-0.6, maxval=0.6)

    def observe(self, state: Float[Array, "B 1"]) -> Float[Array, "B 1"]:
        """The target."""
        return state

    def step(self, state: Float[Array, "B 1"], action: Float[Array, "B 1"]) -> Step:
        """Pay."""
        reward = 1 - jnp.sum((_clip(action) - state) ** 2, axis=-1)
        return Step(state, state, reward, jnp.zeros(len(state), bool))

    def best_action(self, state: Float[Array, "B 1"]) -> Float[Array, "B 1"]:
        """The target."""
        return state

    def value(self, state: Float[Array, "B 1"]) -> Float[Array, " B"]:
        """Of the best policy."""
        return jnp.full(len(state), 1 / (1 - self.discount))


class DelayedState(NamedTuple):
    """Target, the first step's action (0 before it), and whether it is taken."""

    target: Float[Array, " B"]
    taken: Float[Array, " B"]
    second: Array


@dataclass(frozen=True)
class Delayed:
    """Two steps: the first one's action is paid, ``-(a - target)^2``, at the second, which terminates.

    With a rollout of one step the reward never depends on that step's action: only the value of the
    *next* observation teaches. A bootstrap from the present observation learns nothing here.
    """

    discount: float = 0.99

    @property
    def spec(self) -> EnvSpec:
        """Observation (target, first action, whether it is the second step)."""
        return EnvSpec("delayed", 3, 1, episode_length=10, dt=1.0)

    def reset(self, key: PRNGKey, batch: int) -> DelayedState:
        """Uniform target in [-0.6, 0.6]; half of the episodes start at a second step with a random action."""
        target, taken, second = jax.random.split(key, 3)
        late = jax.random.bernoulli(second, shape=(batch,))
        return DelayedState(
            jax.random.uniform(target, (batch,), minval=-0.6, maxval=0.6),
            jnp.where(late, jax.random.uniform(taken, (batch,), minval=-1.0, maxval=1.0), 0.0),
            late,
        )

    def observe(self, state: DelayedState) -> Float[Array, "B 3"]:
        """Target, first action, whether it is the second step."""
        return jnp.stack(
            [state.target, state.taken, state.second.astype(state.target.dtype)], axis=-1
        )

    def step(self, state: DelayedState, action: Float[Array, "B 1"]) -> Step:
        """Store the first action, or pay for it."""
        reward = jnp.where(state.second, -((state.taken - state.target) ** 2), 0.0)
        after = DelayedState(
            state.target,
            jnp.where(state.second, state.taken, _clip(action)[:, 0]),
            jnp.ones_like(state.second),
        )
        return Step(after, self.observe(after), reward, state.second)

    def best_action(self, state: DelayedState) -> Float[Array, "B 1"]:
        """The target (at the second step any action is as good)."""
        return state.target[:, None]

    def value(self, state: DelayedState) -> Float[Array, " B"]:
        """Of the best policy."""
        return jnp.where(state.second, -((state.taken - state.target) ** 2), 0.0)


class BimodalState(NamedTuple):
    """The hidden first action and whether it is taken."""

    first: Float[Array, " B"]
    second: Array


@dataclass(frozen=True)
class Bimodal:
    """Two steps that look the same, and a return for choosing *differently* near one of two wells.

    The observation is constant: a policy without memory draws both actions from one distribution. At
    the second step the return is paid,

    ``-c (a1^2 - w^2)^2 - c (a2^2 - w^2)^2 + k (a1 - a2)^2``.

    For independent draws its expectation is ``2 E[-c (a^2 - w^2)^2 + k a^2] - 2 k E[a]^2``. The first
    term is at most its pointwise maximum, reached at ``a^2 = w^2 + k / 2c = mode^2``, the second at most
    0: the optimum over *all* distributions is +-`mode`, each with probability one half. Any
    deterministic policy earns at most 0; a Gaussian through tanh earns `best_gaussian_return`, because
    it must put mass between the wells or lose them; a flow can split the noise.
    """

    mode: float = 0.6
    well: float = 8.0
    """c"""
    repulsion: float = 1.0
    """k"""

    @property
    def spec(self) -> EnvSpec:
        """One constant observation, one action."""
        return EnvSpec("bimodal", 1, 1, episode_length=10, dt=1.0)

    def reset(self, key: PRNGKey, batch: int) -> BimodalState:
        """Every episode starts the same."""
        del key
        return BimodalState(jnp.zeros(batch), jnp.zeros(batch, bool))

    def observe(self, state: BimodalState) -> Float[Array, "B 1"]:
        """Nothing."""
        return jnp.zeros((len(state.first), 1))

    def step(self, state: BimodalState, action: Float[Array, "B 1"]) -> Step:
        """Remember the first action, or pay for both."""
        a = _clip(action)[:, 0]
        paid = self.wells(state.first) + self.wells(a) + self.repulsion * (a - state.first) ** 2
        after = BimodalState(jnp.where(state.second, state.first, a), ~state.second)
        return Step(after, self.observe(after), jnp.where(state.second, paid, 0.0), state.second)

    def wells(self, action: Array | np.ndarray) -> Array | np.ndarray:
        """``-c (a^2 - w^2)^2``."""
        return -self.well * (action**2 - self.mode**2 + self.repulsion / (2 * self.well)) ** 2

    @property
    def best_return(self) -> float:
        """Undiscounted, of +-mode with probability one half each."""
        return 2 * self.repulsion * self.mode**2 - self.repulsion**2 / (2 * self.well)

    def expected_return(self, actions: np.ndarray, weights: np.ndarray) -> float:
        """Of a memoryless policy with the given action distribution."""
        second_moment = weights @ actions**2
        return float(
            2 * weights @ np.asarray(self.wells(actions))
            + 2 * self.repulsion * (second_moment - (weights @ actions) ** 2)
        )

    def best_gaussian_return(self) -> float:
        """The best that ``tanh(mean + sigma noise)`` can do, by a grid over both and quadrature."""
        noise = np.linspace(-8.0, 8.0, 2001)
        weights = np.exp(-0.5 * noise**2)
        weights /= weights.sum()
        return max(
            self.expected_return(np.tanh(mean + sigma * noise), weights)
            for mean in np.linspace(0.0, 1.5, 31)
            for sigma in np.geomspace(0.01, 20.0, 120)
        )
