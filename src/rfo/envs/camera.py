"""A depth camera: the part of a body's surface that one fixed direction sees, as a point cloud."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from rfo.types import Array, Float, Int

TOLERANCE = 1e-5
"""By how much a barycentric weight may be negative: closes the cracks that rounding leaves."""
EDGE_ON = 1e-6
"""Area of a triangle's image over the square of its longest side up to which the triangle is not seen."""


@dataclass(frozen=True)
class DepthCamera:
    """An orthographic camera that travels along with the body it looks at.

    Its direction is fixed; the middle of its square window is the mean of the vertices. What lies outside
    the window is not seen, and nothing but the body itself hides a part of it: neither the ground nor
    other bodies of the batch.

    Attributes:
        direction: along which it looks, of any length, in world coordinates.
        window: side of the window [m].
        pixels: per side of the window; each looks at one point in its middle.
        points: P, how many to return.

    Raises:
        ValueError: for a direction that is zero or not three finite numbers, a window that is not positive,
            or no pixels or points.
    """

    direction: tuple[float, float, float]
    window: float
    pixels: int = 16
    points: int = 128

    def __post_init__(self) -> None:
        if (
            len(self.direction) != 3
            or not np.isfinite(self.direction).all()
            or not any(self.direction)
        ):
            raise ValueError(
                f"direction must be three finite numbers, not all 0; it is {self.direction}"
            )
        if not (np.isfinite(self.window) and self.window > 0):
            raise ValueError(f"window must be positive [m], not {self.window}")
        for name in ("pixels", "points"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def axes(self) -> Float[np.ndarray, "3 3"]:
        """Unit vectors in world coordinates: to the right and up in the image, and along the view.

        Up is as near to the world's z as can be, or to its y if the camera looks along z.
        """
        ahead = np.array(self.direction) / np.linalg.norm(self.direction)
        right = np.cross(ahead, [0.0, 0.0, 1.0])
        if np.linalg.norm(right) < 1e-6:
            right = np.array([1.0, 0.0, 0.0])
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(right, ahead), ahead])

    @property
    def pixel_centres(self) -> Float[np.ndarray, "Q 2"]:
        """Right and up from the window's middle [m], row by row from the top left."""
        line = self.window * ((np.arange(self.pixels) + 0.5) / self.pixels - 0.5)
        return np.stack([np.tile(line, self.pixels), np.repeat(-line, self.pixels)], axis=1)

    def visible_points(
        self, vertices: Float[Array, "B N 3"], triangles: Int[np.ndarray, "S 3"]
    ) -> Float[Array, "B P 3"]:
        """Where the pixels see the surface: always P points, in the order of the pixels.

        Of C pixels that see the body, point p is that of hit number floor(p C / P): an even choice of them if
        there are more than P, and each of them equally often, give or take one, if there are fewer. A body
        of which no pixel sees anything gives its mean P times.

        The gradient is that of material points: a point is a fixed barycentric combination of its triangle's
        vertices and moves as they do. Which triangle a pixel sees and where on it is not differentiated. The
        alternative, the derivative of what a fixed pixel sees, knows of motion in depth only: what moves
        across the image does so by entering and leaving pixels, in jumps without a derivative. Of a mean
        over many points, as in a pooling network, the material's derivative misses only what changes the
        share of the image that a part of the surface takes: turning, and hiding one another.

        Args:
            vertices: of B bodies [m].
            triangles: of each body's surface, as vertices; their orientation does not matter.
        """
        middle = vertices.mean(1, keepdims=True)
        axes = jnp.asarray(self.axes.T, vertices.dtype)
        image = jnp.matmul(jax.lax.stop_gradient(vertices - middle), axes, precision="highest")
        maps = _maps(image[:, triangles])
        centres = jnp.asarray(self.pixel_centres, vertices.dtype)
        nearest = _nearest(maps, centres)
        seen = nearest >= 0
        pixel = _chosen(seen, self.points)
        triangle = jnp.take_along_axis(nearest, pixel, axis=1)
        rows = jnp.take_along_axis(
            maps[:, :, :2], triangle[..., None, None], axis=1
        )  # (B, P, 2, 3)
        weights = jnp.sum(rows[..., :2] * centres[pixel][:, :, None], axis=-1) + rows[..., 2]
        corners = jnp.take_along_axis(
            vertices, jnp.asarray(triangles)[triangle].reshape(len(vertices), -1, 1), axis=1
        ).reshape(*triangle.shape, 3, 3)
        first, sides = corners[:, :, 0], corners[:, :, 1:] - corners[:, :, :1]
        points = first + jnp.sum(weights[..., None] * sides, axis=2)
        return jnp.where(seen.any(1)[:, None, None], points, middle)


def _maps(corners: Float[Array, "B S 3 3"]) -> Float[Array, "B S 3 3"]:
    """Of each triangle's corners (right, up, ahead) the rows that, times (right, up, 1) of a pixel, give the
    barycentric weights of corners 1 and 2, and the depth there. Edge-on triangles get weights of -1.
    """
    origin, sides = corners[..., 0, :], corners[..., 1:, :] - corners[..., :1, :]
    (ax, ay, _), (bx, by, _) = (jnp.moveaxis(sides[..., i, :], -1, 0) for i in (0, 1))
    area = ax * by - ay * bx
    third = sides[..., 1, :] - sides[..., 0, :]
    longest = jnp.maximum(jnp.sum(sides**2, -1).max(-1), jnp.sum(third**2, -1))
    seen = jnp.abs(area) > EDGE_ON * longest  # False for NaN
    inverse = jnp.stack([by, -bx, -ay, ax], -1) / jnp.where(seen, area, 1.0)[..., None]
    inverse = inverse.reshape(*seen.shape, 2, 2)
    slopes = jnp.concatenate([inverse, jnp.sum(sides[..., 2:] * inverse, -2, keepdims=True)], -2)
    offsets = origin[..., 2:] * jnp.array([0.0, 0.0, 1.0]) - jnp.sum(
        slopes * origin[..., None, :2], -1
    )
    maps = jnp.concatenate([slopes, offsets[..., None]], -1)
    return jnp.where(seen[..., None, None], maps, jnp.array([0.0, 0.0, -1.0]))


def _nearest(maps: Float[Array, "B S 3 3"], centres: Float[Array, "Q 2"]) -> Int[Array, "B Q"]:
    """Triangle with the smallest depth at each pixel, -1 where there is none.

    A loop over the triangles, each for all pixels at once: no (B, S, Q) is ever kept.
    """
    right, up = centres.T

    def draw(
        best: tuple[Array, Array], triangle: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], None]:
        depth, index = best
        rows, number = triangle
        first, second, ahead = (
            rows[:, i, :1] * right + rows[:, i, 1:2] * up + rows[:, i, 2:] for i in range(3)
        )
        inside = jnp.minimum(jnp.minimum(first, second), 1 - first - second) >= -TOLERANCE
        nearer = inside & (ahead < depth)
        return (jnp.where(nearer, ahead, depth), jnp.where(nearer, number, index)), None

    batch, count = maps.shape[:2]
    depth = jnp.full((batch, len(centres)), jnp.inf, maps.dtype)
    nothing = (depth, jnp.full(depth.shape, -1, jnp.int32))
    triangles = jnp.moveaxis(maps, 1, 0), jnp.arange(count, dtype=jnp.int32)
    return jax.lax.scan(draw, nothing, triangles)[0][1]


def _chosen(seen: Array, points: int) -> Int[Array, "B P"]:
    """Pixel of each point, see `DepthCamera.visible_points`; pixel 0 if none sees anything."""
    count = jnp.cumsum(seen, axis=1, dtype=jnp.int32)
    rank = jnp.arange(points, dtype=jnp.int32) * count[:, -1:] // points
    pixel = jnp.sum(count[:, None] <= rank[..., None], axis=-1)  # pixels before hit number `rank`
    return jnp.where(count[:, -1:] > 0, pixel, 0)
