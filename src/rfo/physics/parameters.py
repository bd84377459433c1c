"""Parameters: a simulator's constants as arrays, which environments may have of their own.

Each simulator has a record of its own, such as
`rfo.physics.articulated_parameters.ArticulatedParameters`. All arrays of a record have a leading
axis R: a row for each of the B environments, or one row for all. `Quantity` names what of them is
scaled as one, to randomise or identify it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from rfo.errors import SettingError
from rfo.types import Array, Float

P = TypeVar("P", bound=Any)
"""A simulator's record, a NamedTuple of arrays."""


def nominal(record: type[P], values: Mapping[str, Any], dtype: np.dtype) -> P:
    """A record of constants that stand under the same names, with one row."""
    return record(*(jnp.asarray(values[name], dtype)[None] for name in record._fields))


def checked(parameters: P, like: P, envs: int) -> P:
    """A record in the simulator's precision.

    Args:
        parameters: arrays of one row or of `envs` rows.
        like: the simulator's own record, see `nominal`.
        envs: number of environments B.

    Raises:
        ValueError: names the first array that has another shape.
    """
    arrays = []
    for name, array, own in zip(like._fields, parameters, like, strict=True):
        array, shape = jnp.asarray(array, own.dtype), own.shape[1:]
        if array.shape not in ((1, *shape), (envs, *shape)):
            wanted = " or ".join(str((n, *shape)) for n in (1, envs))
            raise ValueError(f"parameters: {name} must have the shape {wanted}, not {array.shape}")
        arrays.append(array)
    return type(like)(*arrays)


def packed(constants: Mapping[str, Array], names: Iterable[str], envs: int) -> Float[Array, "B N"]:
    """What kernels take as parameters: all numbers of these names, a row for each environment."""
    rows = []
    for name in names:
        array = constants[name]
        size = int(np.prod(array.shape[1:]))
        rows.append(jnp.broadcast_to(array.reshape(len(array), size), (envs, size)))
    return jnp.concatenate(rows, axis=-1)


def parts(like: Any) -> dict[str, slice]:
    """Where each array of a record that has numbers stands in a row of `packed`."""
    found, start = {}, 0
    for name, array in like._asdict().items():
        if array.size:
            found[name] = slice(start, start + array.size)
        start += array.size
    return found


def displaced(own: P, x: Float[Array, "B N"]) -> P:
    """A record of B rows with displacements x, each relative to its number's own size.

    The size of a number that is 0 is the largest of its kind, or 0.01.
    """
    arrays, start = [], 0
    for array in own:
        kinds = jnp.abs(array).max(axis=tuple(range(array.ndim - (array.ndim > 2))), initial=0)
        size = jnp.where(array == 0, jnp.where(kinds == 0, 1e-2, kinds), jnp.abs(array))
        given = x[:, start : start + array.size]
        arrays.append(array + size * given.reshape(len(x), *array.shape[1:]))
        start += array.size
    return type(own)(*arrays)


@dataclass(frozen=True)
class Quantity:
    """Something of a simulator that factors scale; a factor of 1 leaves the file's value."""

    names: tuple[str, ...]
    """Names of bodies, joints or actuators, each with its own factor; "" for one factor for all."""
    apply: Callable[[Any, Array], Any]
    """A record and factors (R, n) to a record."""
    added: bool = False
    """Whether they are no factors but are added, so that 0 leaves the file's value."""


ONE = ("",)
"""Names of a quantity that has one factor for all."""


def times(*fields: str) -> Callable[[P, Array], P]:
    """Factors on whole arrays of a record, for a quantity's `apply`."""

    def apply(parameters: P, factors: Array) -> P:
        arrays = {name: getattr(parameters, name) for name in fields}
        return parameters._replace(**{k: x * _wide(factors, x) for k, x in arrays.items()})

    return apply


def columns(chosen: tuple[int, ...], *fields: str) -> Callable[[P, Array], P]:
    """Factors on some numbers of the last axis of arrays."""

    def apply(parameters: P, factors: Array) -> P:
        arrays = {name: getattr(parameters, name) for name in fields}
        at = {k: np.isin(np.arange(x.shape[-1]), chosen) for k, x in arrays.items()}
        return parameters._replace(
            **{k: x * jnp.where(at[k], _wide(factors, x), 1) for k, x in arrays.items()}
        )

    return apply


def contact_quantities(*laws: str) -> dict[str, Quantity]:
    """What can be scaled of a contact law, whose constants these arrays (R, ..., 5) hold."""
    parts = {"stiffness": (0,), "damping": (1, 4), "friction": (3,), "slope": (2,)}
    return {f"contact.{name}": Quantity(ONE, columns(at, *laws)) for name, at in parts.items()}


def _wide(factors: Array, like: Array) -> Array:
    """Factors (R, n) for an array (R, n, ...) or (R,); one column is for all."""
    return factors.reshape(factors.shape[: like.ndim] + (1,) * (like.ndim - factors.ndim))


def factors_of(quantities: Mapping[str, Quantity], name: str) -> np.ndarray:
    """Which factors of its quantity a name means: ``body.mass`` all, ``body.mass.torso`` one.

    Returns:
        The indices, in ascending order; never empty.

    Raises:
        SettingError: for a name that the simulator does not have.
    """
    quantity, row = split(quantities, name)
    names = quantities[quantity].names
    found = [i for i, known in enumerate(names) if row in (None, known)]
    if not found:
        raise SettingError(
            f"{name}: the model has no such part"
            + (f"; {quantity} has {_listed(names)}" if any(names) else "")
        )
    return np.array(found)


def _listed(names: tuple[str, ...], most: int = 20) -> str:
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


def split(quantities: Mapping[str, Quantity], name: str) -> tuple[str, str | None]:
    """The quantity that a name begins with, and the part's name that follows, if one does.

    Raises:
        SettingError: for an unknown quantity.
    """
    for quantity in quantities:
        if name == quantity:
            return quantity, None
        if name.startswith(f"{quantity}."):
            return quantity, name.removeprefix(f"{quantity}.")
    raise SettingError(f"{name}: unknown; the simulator has {', '.join(quantities)}")


def scaled(
    parameters: P, quantities: Mapping[str, Quantity], factors: Mapping[str, Float[Array, "R n"]]
) -> P:
    """A record whose quantities are scaled by named factors, one after the other.

    Args:
        parameters: such as a simulator's `parameters`.
        quantities: the simulator's `quantities`.
        factors: by name, as `factors_of` reads it; a column for each factor that it means, or one
            column for all. Rows are those of environments, or one.

    Raises:
        SettingError: for a name that the simulator does not have.

    Example:
        >>> import jax.numpy as jnp, rfo
        >>> ant = rfo.make("ant").task.simulator
        >>> light = scaled(ant.parameters, ant.quantities, {"body.mass": jnp.full((1, 1), 0.5)})
        >>> float(light.mass[0, 0] / ant.parameters.mass[0, 0])
        0.5
    """
    for name, given in factors.items():
        quantity = quantities[split(quantities, name)[0]]
        given, rows = jnp.asarray(given), factors_of(quantities, name)
        neutral = 0.0 if quantity.added else 1.0
        whole = jnp.full((len(given), len(quantity.names)), neutral, given.dtype)
        parameters = quantity.apply(parameters, whole.at[:, rows].set(given))
    return parameters
