"""Records of settings that methods share, and their checks.

Each method's file has the defaults of that method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from rfo.errors import SettingError, require_known
from rfo.policies.encoder import POOLINGS
from rfo.policies.flow import SOLVERS
from rfo.policies.nets import ACTIVATIONS
from rfo.types import Array, Float, Int

CONDITIONS: dict[str, Callable[[Any], bool]] = {
    "positive": lambda x: x > 0,
    "not negative": lambda x: x >= 0,
    "negative": lambda x: x < 0,
    "in [0, 1]": lambda x: 0 <= x <= 1,
    "in [0, 1)": lambda x: 0 <= x < 1,
    "positive widths": lambda widths: min(widths, default=0) > 0,
}
"""What `require` can check; NaN satisfies none."""


def require(settings: Any, condition: str, *fields: str) -> None:
    """Check fields of a record of settings.

    Args:
        settings: the record.
        condition: a key of `CONDITIONS`.
        fields: names of values that must satisfy it.

    Raises:
        SettingError: naming the first field that does not, and its value.
    """
    for field in fields:
        value = getattr(settings, field)
        if not CONDITIONS[condition](value):
            raise SettingError(f"{field} must be {condition}, not {value}", field)


def require_order(settings: Any, low: str, high: str) -> None:
    """Check that one field is below another.

    Raises:
        SettingError: naming the lower field.
    """
    below, above = getattr(settings, low), getattr(settings, high)
    if not below < above:
        raise SettingError(f"{low} must be below {high} ({above}), not {below}", low)


def require_divisible(steps: int, batches: int, field: str) -> None:
    """Check that minibatches divide the steps of a rollout.

    Raises:
        SettingError: naming the field, which has the number of minibatches.
    """
    if steps % batches:
        raise SettingError(f"{field} ({batches}) must divide the {steps} steps of a rollout", field)


@dataclass(frozen=True)
class Network:
    """The actor's network, and the encoders of actor and critics.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.RFO(network=rfo.Network(hidden=(64, 64))).network.hidden
        (64, 64)
    """

    hidden: tuple[int, ...] = (128, 64, 32)
    """Widths of the actor's hidden layers."""
    activation: str = "silu"
    """Activation of all networks: elu, relu, silu or tanh."""
    gain: float = 1.0
    """Gain of the orthogonal initial weights of all networks."""
    point_hidden: tuple[int, ...] = (64, 128, 256)
    """Widths of the layers applied to each point of a cloud."""
    point_features: int = 64
    """Size of a point cloud's encoding."""
    vector_features: int = 128
    """Size of the joint encoding of all vectors, for tasks that name their observations."""
    pooling: str = "mean"
    """Reduction over the points of a cloud: mean or max."""

    def __post_init__(self) -> None:
        require(self, "positive widths", "hidden", "point_hidden")
        require(self, "positive", "gain", "point_features", "vector_features")
        require_known(self.activation, ACTIVATIONS, "activation")
        require_known(self.pooling, POOLINGS, "pooling")

    @property
    def layers(self) -> dict[str, Any]:
        """Arguments of every policy's constructor."""
        return {"hidden": self.hidden, "activation": self.activation, "gain": self.gain}


@dataclass(frozen=True)
class Ensemble:
    """Critics that learn the same values from different initial weights.

    Raises:
        SettingError: for a field out of range, naming it.
    """

    hidden: tuple[int, ...] = (64, 64)
    """Widths of each critic's hidden layers."""
    count: int = 2
    """Number of critics E."""
    learning_rate: float = 5e-4
    """Learning rate at the first update."""

    def __post_init__(self) -> None:
        require(self, "positive widths", "hidden")
        require(self, "positive", "count", "learning_rate")


@dataclass(frozen=True)
class Critic(Ensemble):
    """Critics that are fitted to the values of each rollout.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.SAPO(critic=rfo.Critic(iterations=8)).critic.iterations
        8
    """

    iterations: int = 16
    """Passes over a rollout."""
    batches: int = 4
    """Minibatches of each pass; they divide the rollout's decisions T."""
    per_step: bool = False
    """Whether the networks predict V (1 - gamma), the reward per control step, in place of V."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "positive", "iterations", "batches")


@dataclass(frozen=True)
class Flow:
    """The flow policy's ordinary differential equation.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.Flow(steps=2, solver="heun").steps
        2
    """

    steps: int = 4
    """Integration steps K."""
    solver: str = "euler"
    """Integrator: euler, midpoint, heun or rk4."""
    source_noise: float = 0.5
    """Standard deviation of the initial noise z_0."""
    frequencies: int = 0
    """Fourier features of flow time besides the raw scalar."""
    last_scale: float = 0.1
    """Factor on the initial weights of the velocity field's last layer."""

    def __post_init__(self) -> None:
        require(self, "positive", "steps", "source_noise", "last_scale")
        require(self, "not negative", "frequencies")
        require_known(self.solver, SOLVERS, "solver")


@dataclass(frozen=True)
class Optimiser:
    """AdamW of actor and critics, with a clip of the gradient's norm.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.SHAC(optimiser=rfo.Optimiser(learning_rate=1e-3)).optimiser.beta1
        0.7
    """

    learning_rate: float = 2e-3
    """The actor's learning rate at the first update."""
    final_learning_rate: float = 1e-5
    """Learning rate of actor and critics at the end of the schedule."""
    beta1: float = 0.7
    """Decay of the gradient's running mean."""
    beta2: float = 0.95
    """Decay of the gradient's running mean square."""
    weight_decay: float = 0.01
    """Decoupled weight decay, on all parameters."""
    max_grad_norm: float = 0.5
    """Largest global norm of a gradient; larger ones are scaled down to it."""

    def __post_init__(self) -> None:
        require(self, "positive", "learning_rate", "max_grad_norm")
        require(self, "not negative", "final_learning_rate", "weight_decay")
        require(self, "in [0, 1)", "beta1", "beta2")


@dataclass(frozen=True)
class Schedule:
    """Course of the learning rates: linear from the initial to the final one.

    ``rate(u) = final + (initial - final) * left(u)`` at update u, with
    ``left(u) = fraction * (updates - u) / (updates - begin)``.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.RFO(schedule=rfo.Schedule(updates=100)).schedule.updates
        100
    """

    updates: int = 2000
    """Update at which the final learning rate is reached."""
    begin: int = 0
    """Update at which this course began; above 0 where a run was extended."""
    fraction: float = 1.0
    """What was left of the way to the final learning rate at `begin`."""

    def __post_init__(self) -> None:
        require(self, "positive", "updates")
        require(self, "not negative", "begin")
        require(self, "in [0, 1]", "fraction")
        require_order(self, "begin", "updates")

    def extended(self, update: int, updates: int) -> Schedule:
        """The schedule of a run that goes on from `update` until `updates`.

        Raises:
            SettingError: if `updates` does not lie beyond `update`.
        """
        left = self.fraction * max(0, self.updates - update) / (self.updates - self.begin)
        return Schedule(updates, update, left)

    def rate(self, initial: float, final: float, update: Int[Array, ""]) -> Float[Array, ""]:
        """Learning rate of an update; after the last one it stays."""
        done = jnp.minimum((update - self.begin) / (self.updates - self.begin), 1.0)
        done = (1.0 - self.fraction) + self.fraction * done
        return initial + done * (final - initial)
