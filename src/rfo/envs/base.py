"""The contract between tasks and everything that uses them.

A *task* (`Environment`) works on batches. It does not handle time limits, automatic resets or
non-finite numbers; `rfo.envs.batch.Batch` does. Algorithms use only `Batch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from rfo.types import Array, Bool, Float, Observation, ObservationShape, PRNGKey, PyTree


class Entry(NamedTuple):
    """Numbers of a vector observation that belong together."""

    name: str
    size: int
    scale: float = 1.0
    """Factor on the values in SI units."""


@dataclass(frozen=True)
class EnvSpec:
    """Sizes and properties of a task.

    Raises:
        ValueError: if the observation has another shape than those listed below, or its entries
            another size.

    Example:
        >>> import rfo
        >>> rfo.EnvSpec("reach", observation=6, action_size=3, episode_length=100, dt=0.05).dt
        0.05
    """

    name: str
    observation: ObservationShape
    """Size O of a vector observation, or the shape of each array of a dict observation without the
    leading axis B: (n,) for a vector, (P, 3) for a point cloud [m]."""
    action_size: int
    episode_length: int
    """Control steps after which an episode is truncated."""
    dt: float
    """Duration of one control step [s]."""
    differentiable: bool = True
    """Whether reward and next state have a useful gradient with respect to state and action."""
    control_range: tuple[tuple[float, float], ...] | None = None
    """What actions of -1 and 1 mean to each actuator, in its own units. None if the actuators take
    numbers in [-1, 1] themselves."""
    entries: tuple[Entry, ...] = ()
    """What a vector observation is made of, in order. Exported policies carry this list."""

    def __post_init__(self) -> None:
        shapes = self.observation
        shapes = {"observation": (shapes,)} if isinstance(shapes, int) else shapes
        if not shapes:
            raise ValueError(f"{self.name}: a dict observation needs at least one array")
        for key, shape in shapes.items():
            if min(shape, default=0) < 1 or len(shape) > 2 or shape[1:] not in ((), (3,)):
                raise ValueError(
                    f"{self.name}: {key} must have the shape (n,) or, as a point cloud, (P, 3), "
                    f"not {shape}"
                )
        size = sum(entry.size for entry in self.entries)
        if self.entries and size != self.observation:
            raise ValueError(
                f"{self.name}: the entries have {size} numbers, the observation {self.observation}"
            )


class Step(NamedTuple):
    """Result of one control step, before any reset.

    Example:
        >>> import jax, rfo
        >>> task = rfo.make("lqr", 4).task
        >>> task.step(task.reset(jax.random.key(0), 4), jax.numpy.zeros((4, 1))).reward.shape
        (4,)
    """

    state: PyTree
    observation: Observation
    """Arrays with the leading axis B, with the shapes of the specification."""
    reward: Float[Array, " B"]
    terminated: Bool[Array, " B"]


@runtime_checkable
class Environment(Protocol):
    """A task: pure functions of a state, all of whose arrays have the leading axis B.

    Example:
        >>> import rfo
        >>> isinstance(rfo.make("lqr", 4).task, rfo.Environment)
        True
    """

    @property
    def spec(self) -> EnvSpec:
        """Sizes and properties of the task."""
        ...

    def reset(self, key: PRNGKey, batch: int) -> PyTree:
        """Draw `batch` independent initial states."""
        ...

    def observe(self, state: PyTree) -> Observation:
        """Observation of a state; its arrays have the leading axis B."""
        ...

    def step(self, state: PyTree, action: Float[Array, "B A"]) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1].

        A task that also takes `parameters=None` and hands them to its simulator can be randomised
        (`rfo.Randomised`) and identified.
        """
        ...


@runtime_checkable
class Renderable(Protocol):
    """A task that can be drawn: the objects of its scene, and their positions in a state."""

    def scene(self) -> dict[str, Any]:
        """Objects to draw, as data for JSON; every entry is optional.

        ``geoms``: rigid objects, ``[{"type": "sphere"|"capsule"|"box"|"plane", "size": [...],
        "body": int (-1 = world), "pos": [3], "quat": [4] (w, x, y, z), "rgba": [4]}, ...]``.
        Sizes are as in MuJoCo [m]: radius; radius and half length (along local z); half extents.

        ``surface``: the surface of a deforming body, ``{"triangles": [[a, b, c], ...]}``, S
        triangles of vertices that face outward.

        ``points``: particles, ``{"radius": r}`` [m].
        """
        ...

    def frame(self, state: PyTree) -> dict[str, Array]:
        """Positions of the objects in a state; only the arrays that the scene needs.

        ``poses`` (B, bodies, 7): poses of the geoms' bodies, (x, y, z, qw, qx, qy, qz) [m].
        ``vertices`` (B, N, 3): vertices of the surface [m].
        ``activation`` (B, S): activation of the muscle below each triangle, in [-1, 1]; optional.
        ``points`` (B, n, 3): positions of the particles [m].
        ``tint`` (B, n): colours of the particles, in [-1, 1]; optional.
        """
        ...


@runtime_checkable
class Actuated(Protocol):
    """A task whose actions drive the actuators of a robot. Exported policies describe them."""

    @property
    def simulator(self) -> Any:
        """The robot's physics; its `model` names joints and actuators."""
        ...

    @property
    def pose(self) -> tuple[float, ...]:
        """Coordinates near which episodes start, in the order of the robot's file."""
        ...


def open_loop(
    task: Environment, state: PyTree, actions: Float[Array, "T B A"], **more: PyTree
) -> tuple[PyTree, Float[Array, "T B"]]:
    """Last state and rewards under given actions, without time limits or resets; differentiable.

    `more` goes to each step: the `parameters` of its simulator, for a task that takes them.
    """

    def step(state: PyTree, action: Float[Array, "B A"]) -> tuple[PyTree, Float[Array, " B"]]:
        after = task.step(state, action, **more)
        return after.state, after.reward

    return jax.lax.scan(step, state, actions)
