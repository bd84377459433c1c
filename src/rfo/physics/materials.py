"""Materials of particles and their response to a deformation.

The constitutive laws, their adjoints and their equations are in ``native/material.h``, which the
particle simulator (`rfo.physics.mpm`) shares. `respond` evaluates a law by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

from rfo.physics.bridge import Bridge
from rfo.physics.native import Native
from rfo.physics.packs import PackedKernels
from rfo.types import Array, Float

NATIVE = Native(
    "material",
    inputs={"deformation": "9"},
    outputs={"elastic": "9", "stress": "9"},
    work="9",
    tape=False,
)


def lame(young: Any, poisson: Any) -> tuple[Any, Any]:
    """Lamé's parameters mu and lambda [Pa] of numbers or arrays."""
    mu = young / (2 * (1 + poisson))
    return mu, young * poisson / ((1 + poisson) * (1 - 2 * poisson))


@dataclass(frozen=True)
class Material:
    """Constants that all materials have: Young's modulus, Poisson's ratio and density.

    Raises:
        ValueError: if a constant is out of its range.
    """

    young: float
    """Young's modulus E [Pa]."""
    poisson: float
    """Poisson's ratio, between -1 and 0.5."""
    density: float
    """Density [kg/m^3]."""
    law: ClassVar[int]
    """Number of the law in ``native/material.h``."""

    def __post_init__(self) -> None:
        if self.young <= 0 or self.density <= 0 or not -1 < self.poisson < 0.5:
            raise ValueError(
                "a material needs young > 0, density > 0 and poisson between -1 and 0.5, "
                f"not {self.young}, {self.density} and {self.poisson}"
            )

    @property
    def mu(self) -> float:
        """Lamé's second parameter, the shear modulus [Pa]."""
        return lame(self.young, self.poisson)[0]

    @property
    def lambda_(self) -> float:
        """Lamé's first parameter [Pa]."""
        return lame(self.young, self.poisson)[1]

    def values(self) -> dict[str, Any]:
        """Constants that the native code reads, by name."""
        return {"law": self.law, "mu": self.mu, "lambda": self.lambda_, "yield": 0.0}


@dataclass(frozen=True)
class Plasticine(Material):
    """Elastic up to a yield stress, then plastic: Hencky strain and von Mises return mapping."""

    yield_stress: float
    """Largest value of 2 mu |deviator of the elastic Hencky strain| [Pa]."""
    law: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.yield_stress <= 0:
            raise ValueError(f"yield_stress must be positive, not {self.yield_stress}")

    def values(self) -> dict[str, Any]:
        """See `Material.values`."""
        return super().values() | {"yield": self.yield_stress}


@dataclass(frozen=True)
class Fluid(Material):
    """Weakly compressible and without viscosity: tau = lambda J (J - 1) I.

    The stress depends only on the volume ratio J, so the deformation gradient is stored as
    diag(J, 1, 1).
    """

    law: ClassVar[int] = 1


@dataclass(frozen=True)
class NeoHookean(Material):
    """Elastic: tau = mu (F F^T - I) + lambda log(J) I."""

    law: ClassVar[int] = 2


@dataclass(frozen=True)
class Corotated(Material):
    """Elastic: tau = 2 mu (F - R) F^T + lambda J (J - 1) I, where R is the rotation part of F."""

    law: ClassVar[int] = 3


class Response(NamedTuple):
    """Response of a material to a deformation gradient."""

    elastic: Float[Array, "*n 3 3"]
    """Elastic deformation gradient, which remains after plastic flow."""
    stress: Float[Array, "*n 3 3"]
    """Kirchhoff stress tau [Pa]."""


def respond(material: Material, F: Float[Array, "*n 3 3"]) -> Response:
    """Response of a material to deformation gradients; differentiable, in the precision of F.

    For an inverted F, the smallest singular value counts as negative.

    Raises:
        ValueError: if there is no matrix, or F does not have the shape (*n, 3, 3).
    """
    if F.shape[-2:] != (3, 3) or not F.size:
        raise ValueError(
            f"F must have the shape (*n, 3, 3) with at least one matrix, not {F.shape}"
        )
    results = _bridge(material, np.dtype(F.dtype).name)(F.reshape(-1, 9))
    return Response(*(jnp.reshape(x, F.shape) for x in results))


@lru_cache(maxsize=8)
def _bridge(material: Material, dtype_name: str) -> Bridge:
    return Bridge(PackedKernels(NATIVE, material.values(), np.dtype(dtype_name)))
