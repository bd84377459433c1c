"""Materials of particles: what they are made of, and how they answer a deformation.

The laws and their adjoints are native text (``native/material.h``, equations there), shared with the particle
simulator (`rfo.physics.mpm`). `respond` is that answer alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

from rfo.physics.bridge import Bridge
from rfo.physics.material_kernels import ResponseKernels
from rfo.types import Array, Float


@dataclass(frozen=True)
class Material:
    """What all have: stiffness in Young's modulus and Poisson's ratio, and density.

    Raises:
        ValueError: for constants that no material has.
    """

    young: float
    """Young's modulus E [Pa]."""
    poisson: float
    """Poisson's ratio, between -1 and 0.5."""
    density: float
    """[kg/m^3]"""
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
        return self.young / (2 * (1 + self.poisson))

    @property
    def lambda_(self) -> float:
        """Lamé's first parameter [Pa]."""
        return self.young * self.poisson / ((1 + self.poisson) * (1 - 2 * self.poisson))

    def values(self) -> dict[str, Any]:
        """What the native text reads."""
        return {"law": self.law, "mu": self.mu, "lambda": self.lambda_, "yield": 0.0}


@dataclass(frozen=True)
class Plasticine(Material):
    """Elastic up to a yield stress, then flows: Hencky strain and von Mises' return mapping."""

    yield_stress: float
    """Largest 2 mu |deviator of the elastic Hencky strain| [Pa]."""
    law: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.yield_stress <= 0:
            raise ValueError(f"a yield stress must be positive, not {self.yield_stress}")

    def values(self) -> dict[str, Any]:
        """See `Material.values`."""
        return super().values() | {"yield": self.yield_stress}


@dataclass(frozen=True)
class Fluid(Material):
    """Weakly compressible, without viscosity: tau = lambda J (J - 1) I. It forgets all but its volume J,
    which stands in the first entry of its deformation gradient diag(J, 1, 1)."""

    law: ClassVar[int] = 1


@dataclass(frozen=True)
class NeoHookean(Material):
    """Elastic: tau = mu (F F^T - I) + lambda log(J) I."""

    law: ClassVar[int] = 2


@dataclass(frozen=True)
class Corotated(Material):
    """Elastic: tau = 2 mu (F - R) F^T + lambda J (J - 1) I, with R the rotation in F."""

    law: ClassVar[int] = 3


class Response(NamedTuple):
    """How a material answers a deformation gradient."""

    elastic: Float[Array, "*n 3 3"]
    """What is left of it after plastic flow."""
    stress: Float[Array, "*n 3 3"]
    """Kirchhoff stress [Pa]."""


def respond(material: Material, F: Float[Array, "*n 3 3"]) -> Response:
    """The answer to deformation gradients; differentiable, in their precision.

    An inverted F has its smallest singular value negative.

    Raises:
        ValueError: if there is no matrix, or a matrix of another size.
    """
    if F.shape[-2:] != (3, 3) or not F.size:
        raise ValueError(
            f"F must have the shape (*n, 3, 3) with at least one matrix, not {F.shape}"
        )
    width = int(np.prod(F.shape))
    results = _bridge(material, width, np.dtype(F.dtype).name)(F.reshape(1, width))
    return Response(*(jnp.reshape(x, F.shape) for x in results))


@lru_cache(maxsize=8)
def _bridge(material: Material, width: int, dtype_name: str) -> Bridge:
    return Bridge(ResponseKernels(material.values(), width, np.dtype(dtype_name)))
