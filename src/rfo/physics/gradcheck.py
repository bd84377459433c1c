"""Adjoint against central differences, for any differentiable rollout.

The check treats every environment on its own. Rewards are summed per environment in float64 outside
of the compiled program. So float32 noise stays that of single rewards, and one environment at a
kink of the contact law does not hide in, or spoil, a sum over the batch.

Which difference to believe is decided by the differences alone, never by the gradient under test.
For each environment and direction, every three neighbouring step sizes (a decade) are compared, and
those whose values agree best are taken. Two are not enough: a return with kinks is often smooth at
a coarse scale, with another slope. Where even the best three disagree, the return is rough at every
scale tried, and that environment says nothing about the adjoint; the share of such environments is
reported. An environment whose derivative is lost in the rounding of the rewards to float32 says
nothing either. Over the others, the median relative error decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from rfo.types import Array, Float, PRNGKey

Rollout = Callable[[Float[Array, "T B A"]], Float[Array, "T B"]]
"""Controls of T steps to rewards of T steps; environments must not influence each other."""

STEP_SIZES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
TOLERANCE = 0.01
NEIGHBOURS = 3
"""Step sizes in a row that must agree."""
ENOUGH = 0.25
"""Share of environments whose differences must converge for a direction to be judged."""


@dataclass(frozen=True)
class Direction:
    """Directional derivatives of the B environments' returns along one direction of unit length.

    `analytic` is (B,), and `numeric` is (steps, B), one row per step size. `scale` (steps, B) is
    what errors are relative to: the size of the difference, or its root mean square over random
    directions where that is larger (a direction that happens to lie across the gradient has nothing
    to be relative to). `noise` (steps, B) is about how much the rounding of rewards to float32
    changes a difference.
    """

    name: str
    step_sizes: tuple[float, ...]
    analytic: np.ndarray
    numeric: np.ndarray
    scale: np.ndarray
    noise: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """(steps, B) relative error at each step size."""
        return np.abs(self.numeric - self.analytic) / self.scale

    @property
    def converged(self) -> np.ndarray:
        """(B,) whether `NEIGHBOURS` step sizes in a row agree within `TOLERANCE`."""
        return self._disagreement.min(axis=0) <= TOLERANCE

    @property
    def difference(self) -> np.ndarray:
        """(B,) the difference to believe: mean of the neighbours that agree best."""
        return self._best(_windows(self.numeric).mean(axis=1))

    @property
    def error(self) -> np.ndarray:
        """(B,) relative error against `difference`."""
        return np.abs(self.difference - self.analytic) / self._best(
            _windows(self.scale).max(axis=1)
        )

    @property
    def judged(self) -> bool:
        """Whether the differences of enough environments converge to say anything."""
        return float(self.converged.mean()) >= ENOUGH

    @property
    def median_error(self) -> float:
        """Median error of the converged environments, NaN if there is none."""
        return (
            float(np.median(self.error[self.converged])) if self.converged.any() else float("nan")
        )

    @property
    def within(self) -> float:
        """Share of the converged environments whose error is at most `TOLERANCE`."""
        return (
            float(np.mean(self.error[self.converged] <= TOLERANCE)) if self.converged.any() else 0.0
        )

    @property
    def wrong(self) -> bool:
        """Whether the adjoint disagrees with differences that can be trusted."""
        return self.judged and not self.median_error <= TOLERANCE

    @property
    def _disagreement(self) -> np.ndarray:
        """(rows, B) relative range of each `NEIGHBOURS` step sizes in a row."""
        scale = _windows(self.scale).max(axis=1)
        distance = np.ptp(_windows(self.numeric), axis=1) / scale
        lost = _windows(self.noise).min(axis=1) > TOLERANCE * scale
        return np.where(np.isfinite(distance) & ~lost, distance, np.inf)

    def _best(self, rows: np.ndarray) -> np.ndarray:
        """(B,) entries of `rows` (rows, B) where neighbouring step sizes agree best."""
        return np.take_along_axis(rows, self._disagreement.argmin(axis=0)[None], axis=0)[0]


def _windows(values: np.ndarray) -> np.ndarray:
    """(rows, NEIGHBOURS, B) of values (steps, B)."""
    return np.stack([values[i : i + NEIGHBOURS] for i in range(len(values) - NEIGHBOURS + 1)])


@dataclass(frozen=True)
class Report:
    """Result of `check`: `directions`, and the gradient's norms.

    `norm` (B,) is each environment's gradient norm, and `norm_by_step` (T, B) is the norm of each
    control step's part.
    """

    directions: tuple[Direction, ...]
    norm: np.ndarray
    norm_by_step: np.ndarray

    @property
    def finite(self) -> bool:
        """Whether every environment's gradient is finite."""
        return bool(np.isfinite(self.norm).all())

    @property
    def alive(self) -> float:
        """Share of the environments whose gradient is not zero."""
        return float(np.mean(self.norm > 0))

    @property
    def ok(self) -> bool:
        """Whether the gradient is finite and no judged direction is wrong."""
        return self.finite and not any(direction.wrong for direction in self.directions)

    @property
    def conclusive(self) -> bool:
        """Whether at least one direction could be judged."""
        return any(direction.judged for direction in self.directions)

    @property
    def worst_error(self) -> float:
        """Largest median relative error of the judged directions.

        It is NaN if there are none, and infinite if the gradient is not finite.
        """
        if not self.finite:
            return float("inf")
        return max((d.median_error for d in self.directions if d.judged), default=float("nan"))


def check(
    rollout: Rollout,
    controls: Float[Array, "T B A"],
    key: PRNGKey,
    random_directions: int = 3,
    step_sizes: Sequence[float] = STEP_SIZES,
) -> Report:
    """Compare the adjoint of `rollout` with central differences in each environment.

    Args:
        rollout: controls (T, B, A) to rewards (T, B); jittable and differentiable in reverse mode.
        controls: where to check; leave room of the largest step size to any bound that clips.
        key: draws the random directions.
        random_directions: directions beside the gradient's own, at least one.
        step_sizes: lengths of the steps along a unit direction, falling; at least `NEIGHBOURS`.

    Raises:
        ValueError: if there are too few step sizes or random directions.
    """
    if len(step_sizes) < NEIGHBOURS or random_directions < 1:
        raise ValueError(
            f"a gradient check needs {NEIGHBOURS} step sizes and a random direction, at least"
        )
    whole = {"": slice(None)}
    return check_parts(rollout, controls, whole, key, random_directions, step_sizes)


def check_parts(
    rollout: Rollout,
    inputs: Float[Array, "T B A"],
    parts: Mapping[str, slice],
    key: PRNGKey,
    random_directions: int = 1,
    step_sizes: Sequence[float] = STEP_SIZES,
) -> Report:
    """`check` in parts of the last axis, each by itself, so that none hides behind another.

    Args:
        rollout: inputs (T, B, A), which need not be controls, to rewards (T', B).
        inputs: where to check.
        parts: entries of the last axis, by the name that their directions shall begin with.
        key: draws the random directions.
        random_directions: beside the gradient's own, of each part, at least one.
        step_sizes: see `check`.
    """
    forward = jax.jit(rollout)
    gradient = np.asarray(_gradient(rollout)(inputs), np.float64)
    base, directions = np.asarray(inputs), []
    for name, part in parts.items():
        prefix = f"{name}, " if name else ""
        ways = _ways(gradient, part, jax.random.split(key, random_directions))
        pairs = {n: _differences(forward, base, way, step_sizes) for n, way in ways.items()}
        numeric = {n: differences for n, (differences, _) in pairs.items()}
        random = np.stack([values for n, values in numeric.items() if n != "gradient"])
        typical = np.sqrt(np.mean(random**2, axis=0))
        directions += [
            Direction(
                name=prefix + n,
                step_sizes=tuple(step_sizes),
                analytic=(gradient * way).sum(axis=(0, 2)),
                numeric=numeric[n],
                # 1e-30 matters only where nothing depends on the inputs
                scale=np.fmax(np.fmax(np.abs(numeric[n]), typical), 1e-30),
                noise=pairs[n][1],
            )
            for n, way in ways.items()
        ]
    return Report(
        directions=tuple(directions),
        norm=np.sqrt((gradient**2).sum(axis=(0, 2))),
        norm_by_step=np.sqrt((gradient**2).sum(axis=2)),
    )


def _ways(gradient: np.ndarray, part: slice, keys: PRNGKey) -> dict[str, np.ndarray]:
    """Directions (T, B, A) of unit length in a part of the last axis: the gradient's, random
    ones."""
    within = np.zeros_like(gradient)
    within[..., part] = 1.0
    drawn = {
        f"random {number}": np.asarray(jax.random.normal(each, gradient.shape), np.float64)
        for number, each in enumerate(keys, start=1)
    }
    ways = {name: within * way for name, way in ({"gradient": gradient} | drawn).items()}
    length = {name: np.sqrt((way**2).sum(axis=(0, 2)))[:, None] for name, way in ways.items()}
    return {
        n: np.where(length[n] > 0, w / np.maximum(length[n], 1e-300), 0.0) for n, w in ways.items()
    }


def _gradient(rollout: Rollout) -> Callable[[Array], Array]:
    """Gradient of each environment's return; one backward pass, as environments are independent."""
    return jax.jit(jax.grad(lambda controls: rollout(controls).sum()))


def _differences(
    forward: Rollout, base: np.ndarray, direction: np.ndarray, step_sizes: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Central differences (steps, B) along a direction (T, B, A), and their noise.

    The direction has unit length in each environment.
    """

    def rewards(step: float) -> tuple[np.ndarray, np.ndarray]:
        moved = (base + step * direction).astype(base.dtype)
        return np.asarray(forward(jnp.asarray(moved)), np.float64), moved.astype(np.float64)

    differences, noise = [], []
    for size in step_sizes:
        (above, high), (below, low) = rewards(size), rewards(-size)
        # the step really made, which by rounding is not quite the one asked for
        made = ((high - low) * direction).sum(axis=(0, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            differences.append((above - below).sum(axis=0) / made)
        rounding = np.finfo(base.dtype).eps / 2 * np.sqrt((above**2 + below**2).sum(axis=0))
        noise.append(rounding / (2 * size))
    return np.stack(differences), np.stack(noise)
