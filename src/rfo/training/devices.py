"""Several devices in one training: where each array of its state is.

XLA divides the update among the devices by itself, from where the arrays are: each device simulates
its share of the environments, parameters are copied to all, and gradients are summed over them. The
algorithms and their random numbers know nothing of it, so the numbers are those of one device, up
to the rounding of sums. Only the physics, which XLA cannot look into, asks for its share
(`rfo.physics.bridge`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from rfo.errors import SettingError
from rfo.types import ENVIRONMENTS, Array, PyTree

SEEDS = "seeds"
"""Axis of devices along which seeds that train together are shared out."""


class Devices:
    """Devices that share the environments of one run, or the seeds of several.

    Args:
        count: number of devices, from the first on.
        environments: environments B of each run.
        steps: steps T of a rollout.
        seeds: runs that train together.

    Raises:
        SettingError: if there are fewer devices, or shares would not be equal.
    """

    def __init__(self, count: int, environments: int, steps: int, seeds: int = 1):
        shared, what = (environments, "environments") if seeds == 1 else (seeds, "seeds")
        if shared % count:
            raise SettingError(
                f"devices must divide {what} ({shared}), as {_divisor(shared, count)} does, not "
                f"{count}",
                "devices",
            )
        if jax.process_count() > 1 and count != len(jax.devices()):
            raise SettingError(
                f"devices must be {len(jax.devices())}, those of all processes, not {count}",
                "devices",
            )
        if count > len(jax.devices()):
            kind = jax.devices()[0].platform
            raise SettingError(
                f"devices must be at most {len(jax.devices())}, the number of {kind} devices that "
                f"JAX finds, not {count}",
                "devices",
            )
        self.axis = ENVIRONMENTS if seeds == 1 else SEEDS
        self.mesh = jax.make_mesh(
            (count,), (self.axis,), axis_types=(AxisType.Auto,), devices=jax.devices()[:count]
        )
        self._shape = (steps, environments)
        self._copied = NamedSharding(self.mesh, PartitionSpec())
        self._gathered = jax.jit(lambda x: x, out_shardings=self._copied)

    def share_out(self, state: PyTree) -> PyTree:
        """A training state with its arrays where they belong.

        Every process gives the whole state, and keeps what belongs to its own devices.
        """

        def placed(x: Array) -> Array:
            return jax.make_array_from_callback(x.shape, self._place(x), lambda share: x[share])

        return _map(placed, state)

    def together(self, state: PyTree) -> PyTree:
        """A training state whole again, on one device of each process."""
        return _map(lambda x: self._gathered(x).addressable_data(0), state)

    def compiled(self, update: Callable[[PyTree], tuple[PyTree, Any, Any]]) -> Callable[..., Any]:
        """A function from a training state to a state and more, as one program for all devices.

        Args:
            update: of one run, or of several that are stacked.
        """

        def kept(state: PyTree) -> tuple[PyTree, Any, Any]:
            after, *others = update(state)
            placed = _map(lambda x: jax.lax.with_sharding_constraint(x, self._place(x)), after)
            told = _map(lambda x: jax.lax.with_sharding_constraint(x, self._copied), others)
            return placed, *told

        program = eqx.filter_jit(kept)

        def run(state: PyTree) -> tuple[PyTree, Any, Any]:
            with jax.set_mesh(self.mesh):
                return program(state)

        return run

    def _place(self, array: Array) -> NamedSharding:
        """Shared out along the seeds, or along B where the shape is (B, ...) or (T, B, ...)."""
        steps, environments = self._shape
        if self.axis == SEEDS or array.shape[:1] == (environments,):
            spec = PartitionSpec(self.axis)
        elif array.shape[:2] == (steps, environments):
            spec = PartitionSpec(None, self.axis)
        else:
            spec = PartitionSpec()
        return NamedSharding(self.mesh, spec)


@lru_cache(maxsize=8)
def sharing(count: int, environments: int, steps: int, seeds: int) -> Devices | None:
    """The devices that share a training, None for a single one; see `Devices`.

    Equal arguments have the same answer, so that what was compiled for it is used again.
    """
    return None if count == 1 else Devices(count, environments, steps, seeds)


def _map(place: Callable[[Array], Array], state: PyTree) -> PyTree:
    return jax.tree.map(lambda x: place(x) if eqx.is_array(x) else x, state)


def _divisor(number: int, most: int) -> int:
    return next(n for n in range(min(most, number), 0, -1) if number % n == 0)
