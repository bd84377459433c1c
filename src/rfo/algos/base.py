"""What an algorithm is: a frozen record of hyperparameters with pure functions.

The trainer, the evaluator and the command line know algorithms only through `Algorithm`.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from rfo.algos.settings import Schedule
from rfo.envs.batch import Batch
from rfo.types import Array, Float, Metrics, Observation, PRNGKey, PyTree

DROPPED = "dropped_gradients"
"""Metric: share of the environment steps whose gradient was not finite and was dropped."""
DROPPED_IN = f"{DROPPED}/"
"""Prefix of metrics: the same share for one array of the task's state, or for the action."""
NONFINITE_STEPS = "nonfinite_episode_steps"
"""Metric: control steps of the episodes that ended non-finite, divided by those of the update."""


@runtime_checkable
class Policy(Protocol):
    """A trained policy with its observation normaliser: a pytree that acts."""

    def __call__(self, observation: Observation, key: PRNGKey | None) -> Float[Array, "B A"]:
        """Action in [-1, 1]. `key` None means deterministic: the noise is zero."""
        ...


@runtime_checkable
class Algorithm(Protocol):
    """A method: frozen dataclass of hyperparameters, three pure functions."""

    name: ClassVar[str]
    needs_gradient: ClassVar[bool]
    """Whether the method differentiates through the environment."""

    @property
    def horizon(self) -> int:
        """Control steps H of one update's rollout."""
        ...

    @property
    def gamma(self) -> float:
        """Discount of one control step."""
        ...

    @property
    def schedule(self) -> Schedule:
        """Course of the learning rates over the training's updates."""
        ...

    def init(self, key: PRNGKey, env: Batch) -> PyTree:
        """Initial training state: networks, optimisers, normaliser, environments, keys."""
        ...

    def update(self, state: PyTree, env: Batch) -> tuple[PyTree, Metrics]:
        """One update from one rollout of ``horizon * env.size`` control steps. Jittable, vmappable.

        Metrics are scalars. Every method reports ``episodes`` (number that ended and were seen from
        their beginning), ``episode_return`` and ``episode_length`` (mean over them, NaN if there is
        none), ``reward`` (mean per control step), ``nonfinite`` (share of environment steps),
        `NONFINITE_STEPS`, ``grad_norm`` and ``grad_norm_clipped``. A method that differentiates
        through the environment reports `DROPPED`, and `DROPPED_IN` with each array's name.
        """
        ...

    def policy(self, state: PyTree) -> Policy:
        """The policy to evaluate."""
        ...
