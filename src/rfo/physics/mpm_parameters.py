"""What the environments of a particle simulator may each have of their own."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from rfo.physics.materials import lame
from rfo.physics.parameters import ONE, Quantity, times
from rfo.types import Array, Float


class MPMParameters(NamedTuple):
    """Constants of particles; R is the number of environments, or 1 for all alike."""

    gravity: Float[Array, "R 3"]
    """Gravity [m/s^2]."""
    density: Float[Array, " R"]
    """Density of the material, see `rfo.physics.materials` [kg/m^3]."""
    young: Float[Array, " R"]
    """Young's modulus [Pa]."""
    poisson: Float[Array, " R"]
    """Poisson's ratio."""
    yield_stress: Float[Array, "R Y"]
    """Yield stress [Pa]; Y is 1 for a material that yields, else 0."""
    friction: Float[Array, " R"]
    """Friction coefficient of the tools, see `rfo.physics.mpm.Contact`."""
    ground_friction: Float[Array, " R"]
    """Friction coefficient of the ground."""


def constants(parameters: Any, volume: float) -> dict[str, Any]:
    """What the kernels have of them, by name (``native/mpm_model.h``).

    Args:
        parameters: a record of arrays, of NumPy or JAX, with rows or without.
        volume: of a particle at rest [m^3].
    """
    own = parameters
    mu, lambda_ = lame(own.young, own.poisson)
    return {
        "gravity": own.gravity,
        "mass": own.density * volume,
        "mu": mu,
        "lambda": lambda_,
        "yield": own.yield_stress.sum(-1),
        "friction": own.friction,
        "ground_friction": own.ground_friction,
    }


def quantities(yields: bool) -> dict[str, Quantity]:
    """What can be scaled by name.

    A factor on ``material.young`` scales both moduli, so the bulk modulus of a fluid. Poisson's
    ratio must stay below 0.5. ``contact.friction`` has a factor for the tools and one for the
    ground.

    Args:
        yields: whether the material has a yield stress.
    """

    def rub(parameters: MPMParameters, factors: Array) -> MPMParameters:
        tools, ground = jnp.moveaxis(factors, -1, 0)
        return parameters._replace(
            friction=parameters.friction * tools,
            ground_friction=parameters.ground_friction * ground,
        )

    return {
        "gravity": Quantity(ONE, times("gravity")),
        "material.density": Quantity(ONE, times("density")),
        "material.young": Quantity(ONE, times("young")),
        "material.poisson": Quantity(ONE, times("poisson")),
        **({"material.yield": Quantity(ONE, times("yield_stress"))} if yields else {}),
        "contact.friction": Quantity(("tools", "ground"), rub),
    }
