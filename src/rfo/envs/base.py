"""What an environment is: the contract between tasks and everything that uses them.

A *task* (`Environment`) is batched by nature and knows nothing of episodes' clocks, automatic
resets or non-finite numbers; `rfo.envs.batch.Batch` adds those. Algorithms see only `Batch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from rfo.types import Array, Bool, Float, Observation, ObservationShape, PRNGKey, PyTree


@dataclass(frozen=True)
class EnvSpec:
    """Sizes and facts of a task that an algorithm may rely on.

    Raises:
        ValueError: for an observation of another shape than those named below.
    """

    name: str
    observation: ObservationShape
    """Size O of a vector observation, or of a dict observation the shape of each array without its leading
    B: (n,) for a vector, (P, 3) for a point cloud [m]."""
    action_size: int
    episode_length: int
    """Control steps after which an episode is truncated."""
    dt: float
    """Duration of one control step [s]."""
    differentiable: bool = True
    """Whether reward and next state have a useful gradient in state and action."""

    def __post_init__(self) -> None:
        shapes = self.observation
        shapes = {"observation": (shapes,)} if isinstance(shapes, int) else shapes
        if not shapes:
            raise ValueError(f"{self.name}: a dict observation needs at least one array")
        for key, shape in shapes.items():
            if min(shape, default=0) < 1 or len(shape) > 2 or shape[1:] not in ((), (3,)):
                raise ValueError(
                    f"{self.name}: {key} must have the shape (n,) or, as a point cloud, (P, 3), not {shape}"
                )


class Step(NamedTuple):
    """Result of one control step, before any reset."""

    state: PyTree
    observation: Observation
    """Arrays with the leading axis B, as the specification says."""
    reward: Float[Array, " B"]
    terminated: Bool[Array, " B"]


@runtime_checkable
class Environment(Protocol):
    """A task: pure functions of a state whose arrays all have the leading axis B."""

    @property
    def spec(self) -> EnvSpec:
        """Sizes and facts of the task."""
        ...

    def reset(self, key: PRNGKey, batch: int) -> PyTree:
        """Draw `batch` independent initial states."""
        ...

    def observe(self, state: PyTree) -> Observation:
        """Observation of a state, arrays with the leading axis B."""
        ...

    def step(self, state: PyTree, action: Float[Array, "B A"]) -> Step:
        """Advance by one control step. `action` is expected in [-1, 1] and clipped to it."""
        ...


@runtime_checkable
class Renderable(Protocol):
    """A task that can be replayed: what its figure is made of, and where that is in a state."""

    def scene(self) -> dict[str, Any]:
        """What is drawn, as plain data; each entry may be left out.

        ``geoms``: rigid ones, ``[{"type": "sphere"|"capsule"|"box"|"plane", "size": [...],
        "body": int (-1 = world), "pos": [3], "quat": [4] (w, x, y, z), "rgba": [4]}, ...]``.
        Sizes are MuJoCo's: radius; radius and half length (along local z); half extents.

        ``surface``: of a deforming body, ``{"triangles": [[a, b, c], ...]}``, S outward ones of vertices.

        ``points``: particles, ``{"radius": r}`` [m].
        """
        ...

    def frame(self, state: PyTree) -> dict[str, Array]:
        """Where it is, as far as the scene has use for it.

        ``poses`` (B, bodies, 7): of the bodies that geoms hang on, (x, y, z, qw, qx, qy, qz) [m].
        ``vertices`` (B, N, 3): of the surface [m].
        ``activation`` (B, S): of the muscle under each triangle, in [-1, 1]; it may be left out.
        ``points`` (B, n, 3): of the particles [m].
        ``tint`` (B, n): their colour, in [-1, 1]; it may be left out.
        """
        ...


def open_loop(
    task: Environment, state: PyTree, actions: Float[Array, "T B A"]
) -> tuple[PyTree, Float[Array, "T B"]]:
    """Last state and rewards under given actions, without clocks or resets; differentiable."""

    def step(state: PyTree, action: Float[Array, "B A"]) -> tuple[PyTree, Float[Array, " B"]]:
        after = task.step(state, action)
        return after.state, after.reward

    return jax.lax.scan(step, state, actions)
