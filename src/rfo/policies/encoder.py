"""Encoders turn observations into flat vectors.

A vector stays as it is. Point clouds and vectors by name are encoded as in 3D Diffusion Policy
(arXiv 2403.03954), in SAPO's version (arXiv 2412.12089): a perceptron applied to each point,
pooling over the points, one layer after it, and one layer for all vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp

from rfo.errors import require_known
from rfo.policies.nets import MLP, largest
from rfo.types import Array, Float, Observation, ObservationShape, PRNGKey

POOLINGS: dict[str, Callable[..., Array]] = {"mean": jnp.mean, "max": largest}
"""Reductions over the points, by the names that settings use."""

BLOCK = 2048
"""Points that a CPU encodes together."""


@runtime_checkable
class Encoder(Protocol):
    """First part of a network: turns an observation into an encoding."""

    @property
    def size(self) -> int:
        """Size of an encoding."""
        ...

    def __call__(self, observation: Observation) -> Float[Array, "*batch size"]:
        """Encoding of a normalised observation."""
        ...


def encoder_for(
    key: PRNGKey,
    observation: ObservationShape,
    point_hidden: Sequence[int] = (64, 128, 256),
    point_features: int = 64,
    vector_features: int = 128,
    pooling: str = "mean",
    activation: str = "silu",
    gain: float = 1.0,
) -> Encoder:
    """The encoder of a task's observations: `Identity` for a vector, else a `PointEncoder`.

    Args:
        key: for the initial weights.
        observation: size of the vector, or shape of each array by name.
        point_hidden: widths of the perceptron applied to each point.
        point_features: size of a cloud's encoding.
        vector_features: size of the joint encoding of all vectors.
        pooling: a name in `POOLINGS`.
        activation: activation after every layer.
        gain: gain of the orthogonal initial weights.

    Raises:
        SettingError: for an unknown activation or pooling, or sizes that are not positive.
    """
    if isinstance(observation, int):
        return Identity(observation)
    return PointEncoder(
        key, observation, point_hidden, point_features, vector_features, pooling, activation, gain
    )


class Identity(eqx.Module):
    """Encoder of a vector: the vector itself, without parameters."""

    size: int = eqx.field(static=True)

    def __call__(self, observation: Observation) -> Float[Array, "*batch size"]:
        """The observation."""
        assert not isinstance(observation, dict), "a dict observation has a PointEncoder"
        return observation


class CloudEncoder(eqx.Module):
    """Encoder of a point cloud: the result does not depend on the order of the points."""

    points: MLP
    """Layers applied to each point."""
    pooled: MLP
    """Layer after the pooling."""
    pooling: str = eqx.field(static=True)

    def __call__(self, cloud: Float[Array, "*batch P 3"]) -> Float[Array, "*batch features"]:
        """Encode all clouds: at once on an accelerator, in blocks on a CPU."""
        clouds = cloud.reshape(-1, *cloud.shape[-2:])
        count, block = clouds.shape[0], max(1, BLOCK // clouds.shape[1])
        # an exported policy takes any number of clouds: its count is a symbol
        if not isinstance(count, int) or count <= block:
            encodings = self.encode(clouds)
        else:
            # lambdas, because JAX hashes what it calls, and a module cannot be hashed
            encodings = jax.lax.platform_dependent(
                clouds,
                cpu=lambda clouds: self.encode_in_blocks(clouds, block),
                default=lambda clouds: self.encode(clouds),
            )
        return encodings.reshape(*cloud.shape[:-2], -1)

    def encode(self, clouds: Float[Array, "n P 3"]) -> Float[Array, "n features"]:
        """Encode clouds at once: the layers see one matrix whose rows are points."""
        points = self.points(clouds.reshape(-1, clouds.shape[-1]))
        points = points.reshape(*clouds.shape[:-1], points.shape[-1])
        return self.pooled(POOLINGS[self.pooling](points, axis=-2))

    def encode_in_blocks(self, clouds: Float[Array, "n P 3"], block: int) -> Array:
        """The same, `block` clouds after `block` clouds, so that a block stays in the CPU's cache.

        The gradient computes each block again, which is cheaper than to keep its layers in memory.
        """
        whole = len(clouds) // block * block
        blocks = clouds[:whole].reshape(-1, block, *clouds.shape[1:])
        encode = jax.checkpoint(lambda clouds: self.encode(clouds))
        encodings = jax.lax.map(encode, blocks)
        rest = self.encode(clouds[whole:])
        return jnp.concatenate([encodings.reshape(whole, rest.shape[-1]), rest])


class PointEncoder(eqx.Module):
    """Encoder of point clouds and vectors by name.

    Its result concatenates one encoding per cloud and one of all vectors. Clouds and vectors are
    sorted by name. Every layer is followed by layer normalisation and the activation. For arguments
    and errors see `encoder_for`.
    """

    clouds: dict[str, CloudEncoder]
    vectors: MLP | None
    """Layer for all vectors; None if there are none."""
    names: tuple[str, ...] = eqx.field(static=True)
    """Sorted names of the vectors."""

    def __init__(
        self,
        key: PRNGKey,
        observation: Mapping[str, tuple[int, ...]],
        point_hidden: Sequence[int],
        point_features: int,
        vector_features: int,
        pooling: str,
        activation: str,
        gain: float,
    ):
        require_known(pooling, POOLINGS, "pooling")
        self.names = tuple(sorted(name for name, shape in observation.items() if len(shape) == 1))
        clouds = sorted(set(observation) - set(self.names))
        vectors_key, *keys = jax.random.split(key, 1 + 2 * len(clouds))

        def layers(key: PRNGKey, *sizes: int) -> MLP:
            return MLP(key, sizes, activation, gain, activate_last=True)

        self.clouds = {
            name: CloudEncoder(
                layers(points_key, observation[name][-1], *point_hidden),
                layers(pooled_key, point_hidden[-1], point_features),
                pooling,
            )
            for name, points_key, pooled_key in zip(clouds, keys[::2], keys[1::2], strict=True)
        }
        inputs = sum(observation[name][0] for name in self.names)
        self.vectors = layers(vectors_key, inputs, vector_features) if self.names else None

    @property
    def size(self) -> int:
        """Size of an encoding."""
        lasts = [cloud.pooled for cloud in self.clouds.values()]
        if self.vectors is not None:
            lasts.append(self.vectors)
        return sum(last.biases[-1].shape[-1] for last in lasts)

    def __call__(self, observation: Observation) -> Float[Array, "*batch size"]:
        """Encoding of a normalised observation."""
        parts = [self.clouds[name](observation[name]) for name in sorted(self.clouds)]
        if self.vectors is not None:
            parts.append(
                self.vectors(jnp.concatenate([observation[name] for name in self.names], axis=-1))
            )
        return jnp.concatenate(parts, axis=-1)
