"""A depth camera: the visible part of a body's surface as a point cloud."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from rfo.types import Array, Float, Int

TOLERANCE = 1e-5
"""Barycentric weights may be negative by this much, which closes cracks due to rounding."""
EDGE_ON = 1e-6
"""A triangle is invisible if its area in the image is at most this times the square of its longest
side."""


@dataclass(frozen=True)
class DepthCamera:
    """An orthographic camera that moves along with a body.

    Its direction is fixed, and the middle of its square window is the mean of the body's vertices.
    It sees nothing outside the window. Only the body itself can hide parts of the body; the ground
    and the other bodies of the batch cannot.

    Attributes:
        direction: viewing direction in world coordinates, of any length.
        window: side length of the window [m].
        pixels: number of pixels per side; each pixel sees the point in its middle.
        points: number P of points to return.

    Raises:
        ValueError: if the direction is zero or not three finite numbers, the window is not
            positive, or there are no pixels or points.
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
                f"direction must be three finite numbers that are not all 0, not {self.direction}"
            )
        if not (np.isfinite(self.window) and self.window > 0):
            raise ValueError(f"window must be a positive length [m], not {self.window}")
        for name in ("pixels", "points"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def axes(self) -> Float[np.ndarray, "3 3"]:
        """Unit vectors in world coordinates: right and up in the image, and the viewing direction.

        Up is as close as possible to the world's z axis, or to its y axis if the camera looks along
        z.
        """
        ahead = np.array(self.direction) / np.linalg.norm(self.direction)
        right = np.cross(ahead, [0.0, 0.0, 1.0])
        if np.linalg.norm(right) < 1e-6:
            right = np.array([1.0, 0.0, 0.0])
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(right, ahead), ahead])

    @property
    def pixel_centres(self) -> Float[np.ndarray, "Q 2"]:
        """Positions of the pixels relative to the window's middle [m].

        They are (right, up), row by row from the top left.
        """
        line = self.window * ((np.arange(self.pixels) + 0.5) / self.pixels - 0.5)
        return np.stack([np.tile(line, self.pixels), np.repeat(-line, self.pixels)], axis=1)

    def visible_points(
        self, vertices: Float[Array, "B N 3"], triangles: Int[np.ndarray, "S 3"]
    ) -> Float[Array, "B P 3"]:
        """P points of the surface that the pixels see [m], in the order of the pixels.

        If C pixels see the body, point p comes from hit number floor(p C / P). With C > P this
        chooses hits evenly; with C < P it repeats each hit equally often, up to one. If no pixel
        sees the body, all P points are the mean of its vertices.

        The gradient is that of material points: each point is a fixed barycentric combination of
        its triangle's vertices and moves with them. The choice of the triangle and of the point on
        it is not differentiated. The alternative would be the derivative of what a fixed pixel
        sees, but that contains only motion in depth: motion across the image happens by jumps, when
        parts enter or leave a pixel. For a mean over many points, as in a pooling network, the
        derivative of material points misses only changes of the visible area, by rotation or by
        parts that hide each other.

        Args:
            vertices: vertices of B bodies [m].
            triangles: triangles of each body's surface, as indices of vertices in any orientation.
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
        rows = jnp.take_along_axis(maps[:, :, :2], triangle[..., None, None], axis=1)
        weights = jnp.sum(rows[..., :2] * centres[pixel][:, :, None], axis=-1) + rows[..., 2]
        corners = jnp.take_along_axis(
            vertices, jnp.asarray(triangles)[triangle].reshape(len(vertices), -1, 1), axis=1
        ).reshape(*triangle.shape, 3, 3)
        first, sides = corners[:, :, 0], corners[:, :, 1:] - corners[:, :, :1]
        points = first + jnp.sum(weights[..., None] * sides, axis=2)
        return jnp.where(seen.any(1)[:, None, None], points, middle)


def _maps(corners: Float[Array, "B S 3 3"]) -> Float[Array, "B S 3 3"]:
    """Linear maps from pixels to points of each triangle.

    The rows of a map, multiplied by (right, up, 1) of a pixel, give the barycentric weights of the
    corners 1 and 2, and the depth. Triangles seen edge-on get weights of -1, so that no pixel lies
    on them.

    Args:
        corners: corners of each triangle, (right, up, ahead).
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
    """Index of the triangle with the smallest depth at each pixel, -1 where there is none.

    It loops over the triangles and handles all pixels at once, which avoids an array (B, S, Q).
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
    """Pixel of each point, as `DepthCamera.visible_points` explains; 0 if none sees the body."""
    count = jnp.cumsum(seen, axis=1, dtype=jnp.int32)
    rank = jnp.arange(points, dtype=jnp.int32) * count[:, -1:] // points
    # number of pixels before hit number `rank`
    pixel = jnp.sum(count[:, None] <= rank[..., None], axis=-1)
    return jnp.where(count[:, -1:] > 0, pixel, 0)
