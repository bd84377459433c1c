"""What the methods' hyperparameters have in common: checks, and the encoder, flow and optimiser they
describe.

Each method's record stays complete: what a field means stands beside its default there.
"""

# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from rfo.algos.optimize import Descent
from rfo.policies.encoder import Encoder, encoder_for, require_pooling
from rfo.policies.flow import FlowPolicy
from rfo.types import Array, Float, ObservationShape, PRNGKey


@runtime_checkable
class Settings(Protocol):
    """The hyperparameters that all methods have."""

    @property
    def horizon(self) -> int: ...
    @property
    def updates(self) -> int: ...
    @property
    def gamma(self) -> float: ...
    @property
    def activation(self) -> str: ...
    @property
    def gain(self) -> float: ...
    @property
    def point_hidden(self) -> tuple[int, ...]: ...
    @property
    def point_features(self) -> int: ...
    @property
    def vector_features(self) -> int: ...
    @property
    def pooling(self) -> str: ...
    @property
    def actor_learning_rate(self) -> float: ...
    @property
    def final_learning_rate(self) -> float: ...
    @property
    def beta1(self) -> float: ...
    @property
    def beta2(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def max_grad_norm(self) -> float: ...


@runtime_checkable
class FlowSettings(Settings, Protocol):
    """The hyperparameters that all methods with a flow policy have."""

    @property
    def actor_hidden(self) -> tuple[int, ...]: ...
    @property
    def flow_steps(self) -> int: ...
    @property
    def solver(self) -> str: ...
    @property
    def source_noise(self) -> float: ...
    @property
    def frequencies(self) -> int: ...
    @property
    def last_scale(self) -> float: ...


def require_common(settings: Settings) -> None:
    """Check the hyperparameters that all methods have.

    Raises:
        ValueError: naming the first that is out of its range, and its value.
    """
    require(
        settings, "positive", "horizon", "updates", "actor_learning_rate", "gain", "max_grad_norm"
    )
    require(settings, "not negative", "weight_decay", "final_learning_rate")
    require(settings, "in [0, 1]", "gamma")
    require(settings, "in [0, 1)", "beta1", "beta2")
    require(settings, "positive", "point_features", "vector_features")
    require(settings, "positive widths", "point_hidden")
    require_pooling(settings.pooling)


def require(settings: Any, condition: str, *fields: str) -> None:
    """Check fields of a hyperparameter record.

    Args:
        settings: the record.
        condition: a key of `CONDITIONS`.
        fields: names of values that must satisfy it.

    Raises:
        ValueError: naming the first field that does not, and its value.
    """
    for field in fields:
        value = getattr(settings, field)
        if not CONDITIONS[condition](value):
            raise ValueError(f"{field} must be {condition}, not {value}")


CONDITIONS: dict[str, Callable[[Any], bool]] = {
    "positive": lambda x: x > 0,
    "not negative": lambda x: x >= 0,
    "in [0, 1]": lambda x: 0 <= x <= 1,
    "in [0, 1)": lambda x: 0 <= x < 1,
    "positive widths": lambda widths: min(widths, default=0) > 0,
}
"""What `require` can check; NaN satisfies none."""


def encoder(settings: Settings, key: PRNGKey, observation: ObservationShape) -> Encoder:
    """A new encoder of a task's observations."""
    return encoder_for(
        key,
        observation,
        settings.point_hidden,
        settings.point_features,
        settings.vector_features,
        settings.pooling,
        settings.activation,
        settings.gain,
    )


def flow_policy(
    settings: FlowSettings, key: PRNGKey, encoder: Encoder, action_size: int
) -> FlowPolicy:
    """A new flow policy."""
    return FlowPolicy(
        key,
        encoder,
        action_size,
        settings.actor_hidden,
        activation=settings.activation,
        steps=settings.flow_steps,
        solver=settings.solver,
        source_noise=settings.source_noise,
        frequencies=settings.frequencies,
        gain=settings.gain,
        last_scale=settings.last_scale,
    )


def descent(
    settings: Settings,
    learning_rate: float | Float[Array, ""],
    final_learning_rate: float | Float[Array, ""] | None = None,
) -> Descent:
    """An optimiser; its learning rate falls to `final_learning_rate`, that of the settings if None."""
    final = settings.final_learning_rate if final_learning_rate is None else final_learning_rate
    return Descent(
        learning_rate,
        final,
        settings.updates,
        settings.beta1,
        settings.beta2,
        settings.weight_decay,
        settings.max_grad_norm,
    )
