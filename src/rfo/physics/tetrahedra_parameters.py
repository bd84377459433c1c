"""What the environments of a soft simulator may each have of their own."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rfo.physics.parameters import ONE, Quantity, contact_quantities, times
from rfo.types import Array, Float


class TetrahedraParameters(NamedTuple):
    """Constants of a soft body; R is the number of environments, or 1 for all alike.

    N vertices, M tetrahedra. The contact's constants do not follow a mass that changes.
    """

    gravity: Float[Array, "R 3"]
    """Gravity [m/s^2]."""
    mass: Float[Array, "R N"]
    """Mass of each vertex [kg]."""
    mu: Float[Array, "R M"]
    """Resistance of each tetrahedron to stretch and shear, see
    `rfo.physics.tetrahedra.SoftMaterial` [Pa]."""
    lambda_: Float[Array, "R M"]
    """Resistance of each tetrahedron to a change of volume [Pa]."""
    damping: Float[Array, "R M"]
    """Damping of each tetrahedron [Pa s]."""
    gain: Float[Array, "R M"]
    """Activation of a tetrahedron per unit of its control."""
    contact_law: Float[Array, "R 5"]
    """k_e, k_d, k_f, mu as in `rfo.physics.tetrahedra.SoftContact`, and k_h, damping that grows
    with depth [N s/m^2]."""


def constants(parameters: Any, volumes: np.ndarray) -> dict[str, Any]:
    """What the kernels have of them, by name (``native/tetrahedra_model.h``).

    Args:
        parameters: a record of arrays, of NumPy or JAX, with rows or without.
        volumes: (M,) of the tetrahedra at rest [m^3].
    """
    own = parameters
    return {
        "gravity": own.gravity,
        "contact_law": own.contact_law,
        "inverse_mass": 1 / own.mass,
        "gain": own.gain,
        "mu": own.mu * volumes,
        "lambda": own.lambda_ * volumes,
        "damping": own.damping * volumes,
        "alpha": 1 + 0.75 * own.mu / own.lambda_,
    }


def quantities(muscle: np.ndarray) -> dict[str, Quantity]:
    """What can be scaled by name.

    A factor on ``tissue.young`` scales both moduli, at the same Poisson's ratio;
    ``tissue.lambda`` scales the resistance to a change of volume further. ``muscle.gain`` has a
    factor for each control, by its number.

    Args:
        muscle: (M,) index of each tetrahedron's control, -1 for none.
    """
    controls = tuple(str(i) for i in range(muscle.max(initial=-1) + 1))

    def strengthen(parameters: TetrahedraParameters, factors: Array) -> TetrahedraParameters:
        each = factors[:, np.maximum(muscle, 0)]
        return parameters._replace(gain=parameters.gain * jnp.where(muscle < 0, 1, each))

    muscles = {"muscle.gain": Quantity(controls, strengthen)} if controls else {}
    return {
        "gravity": Quantity(ONE, times("gravity")),
        "tissue.density": Quantity(ONE, times("mass")),
        "tissue.young": Quantity(ONE, times("mu", "lambda_")),
        "tissue.lambda": Quantity(ONE, times("lambda_")),
        "tissue.damping": Quantity(ONE, times("damping")),
        **muscles,
        **contact_quantities("contact_law"),
    }
