"""Identify a robot's constants from a recording of its motion, by the gradient of the physics.

The recording is cut into windows. Each is simulated from a start of its own, which is fitted too:
measured starts are noisy, and taking them as they are would bias the constants. Residuals are the
differences of all recorded coordinates and velocities, each divided by its noise, which follows
from the residuals of a first fit. The least squares are solved by scipy with exact Jacobians: those
of single control steps come from the adjoint, and are multiplied along a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import least_squares

from rfo.deploy.recording import Recording, read
from rfo.errors import SettingError
from rfo.physics.articulated import Articulated
from rfo.physics.kinematics import multiply
from rfo.physics.mjcf import load
from rfo.physics.model import Joint, Model
from rfo.physics.parameters import factors_of, scaled, split
from rfo.physics.reference import stable_step
from rfo.types import Array, Float

LONGEST_SUBSTEP = 5e-4
"""Longest integration step, so that its own error stays below that of the noise [s]."""
OFFSET = 0.1
"""Bound of what is added, as an offset of a centre of mass is [m]."""
SPREAD = 0.5
"""Part of the way to the bounds within which further starts are drawn."""
NORMAL = 1.96
"""Half width of a 95 % interval in standard deviations."""
TOLERANCE = 1e-6
"""Relative change of the squares at which a fit ends; the physics computes in single precision."""


class Constant(NamedTuple):
    """A constant that was fitted."""

    name: str
    """As in "body.mass.torso"."""
    factor: float
    """On the file's value; what is added to it, for ``body.com`` [m]."""
    interval: tuple[float, float]
    """95 % interval of the factor, by the Jacobian at the optimum and the noise."""
    value: float | None
    """The constant itself in SI units; None where the factor scales several different ones."""
    at_bound: bool
    """Whether the fit ended at a bound: the data do not determine it, or the bound is too tight."""


@dataclass(frozen=True)
class Identification:
    """What `identify` found. It prints as a table."""

    constants: tuple[Constant, ...]
    noise: np.ndarray
    """(nq + nv,) standard deviation of each coordinate and velocity about the fit, its own unit."""
    costs: tuple[float, ...]
    """Half the sum of the squared residuals from each start, the best first."""
    recorded: np.ndarray
    """(windows, rows, nq + nv)"""
    fitted: np.ndarray
    """(windows, rows, nq + nv) the same by the fit."""
    names: tuple[str, ...]
    """Names of the columns."""
    dt: float
    """Time between two rows [s]."""

    def __getitem__(self, name: str) -> Constant:
        """A constant by name."""
        return next(constant for constant in self.constants if constant.name == name)

    def __repr__(self) -> str:
        lines = [f"{'constant':<32} {'factor':>9} {'95 % interval':>22} {'value':>10}"]
        for name, factor, (low, high), value, at_bound in self.constants:
            shown = "" if value is None else f"{value:.4g}"
            end = "  at its bound: not determined" if at_bound else ""
            interval = f"{low:.4g} to {high:.4g}"
            lines.append(f"{name:<32} {factor:>9.4g} {interval:>22} {shown:>10}{end}")
        same = sum(cost < 1.01 * self.costs[0] for cost in self.costs)
        lines.append(f"{same} of {len(self.costs)} starts came to this optimum")
        return "\n".join(lines)

    def draw(self, path: Path) -> None:
        """Write a picture of fit and residual, a row for each column with the largest motion."""
        from rfo.deploy.identify_figure import draw

        draw(self, path)


def identify(
    robot: str | Path | Articulated,
    data: str | Path | Recording,
    fit: Sequence[str],
    *,
    bounds: tuple[float, float] = (0.1, 10.0),
    window: int = 50,
    starts: int = 3,
    seed: int = 0,
    threads: int | None = None,
) -> Identification:
    """Fit constants of a robot to a recording.

    Args:
        robot: its MJCF file or text, or a simulator whose control step is the recording's.
        data: a file, ``.npz`` or ``.csv``, see `rfo.deploy.recording.read`, or a recording.
        fit: names of `rfo.physics.articulated_parameters.quantities`, as "body.mass" for a factor
            on every body, or "body.mass.torso" for one.
        bounds: smallest and largest factor; what is added stays within 0.1 m.
        window: rows of the recording that are simulated from one start.
        starts: optimisations from different constants, the first from the file's.
        seed: draws the others.
        threads: CPU threads of the physics, for a robot that is a file.

    Raises:
        SettingError: for a name that the model does not have, a constant that is 0 in the file, or
            a recording that does not fit the robot.

    Example:
        >>> import numpy as np, rfo
        >>> cart = '''<mujoco><worldbody><body name="cart">
        ...   <joint name="x" type="slide" axis="1 0 0"/> <geom size="0.1" mass="1"/>
        ... </body></worldbody><actuator><motor joint="x"/></actuator></mujoco>'''
        >>> t = 0.05 * np.arange(20)[:, None]  # a force of 1 N moved 2 kg
        >>> np.savez("log.npz", dt=0.05, qpos=t**2 / 4, qvel=t / 2, ctrl=np.ones((20, 1)))
        >>> found = rfo.identify(cart, "log.npz", ["body.mass"], starts=1)
        >>> round(found["body.mass.cart"].value, 2)
        2.0
    """
    recording = read(Path(data)) if isinstance(data, str | Path) else data
    simulator = _simulator(robot, recording, threads)
    if not fit:
        raise SettingError("name what to fit, as in --fit body.mass joint.damping", "fit")
    if not 0 < bounds[0] < 1 < bounds[1]:
        raise SettingError(f"bounds must enclose the factor 1, not {bounds}", "bounds")
    if window < 2 or starts < 1:
        raise SettingError("window must be at least 2 rows, starts at least 1", "window")
    factors = Factors(simulator, fit, bounds)
    problem = Problem(simulator, factors, *recording.windows(simulator.model, window))
    scale = np.maximum(problem.recorded.std(axis=(0, 1)), 1e-6)
    rng = np.random.default_rng(seed)
    drawn = [np.zeros(factors.size)]
    drawn += [SPREAD * rng.uniform(factors.low, factors.high) for _ in range(starts - 1)]
    found = sorted((problem.solve(x, scale) for x in drawn), key=lambda result: result.cost)
    noise = np.maximum(problem.noise(found[0]), 1e-6 * scale)
    best = problem.solve(found[0].x, noise)
    error = _standard_errors(best)[: factors.size]
    return Identification(
        constants=tuple(factors.constants(best.x[: factors.size], error)),
        noise=problem.noise(best),
        costs=tuple(float(result.cost) for result in found),
        recorded=problem.recorded,
        fitted=problem.fitted(best.x),
        names=_columns(simulator.model),
        dt=simulator.dt,
    )


class Factors:
    """The constants to fit as one vector x: logarithms of factors, or what is added.

    Args:
        simulator: of the robot.
        fit: names of its quantities.
        bounds: of the factors.

    Raises:
        SettingError: for an unknown name, or one whose constant is 0.
    """

    def __init__(self, simulator: Articulated, fit: Sequence[str], bounds: tuple[float, float]):
        self._simulator = simulator
        self.names, self._quantities, self._added = [], [], []
        known = simulator.quantities
        for name in fit:
            quantity = known[split(known, name)[0]]
            for row in factors_of(known, name):
                part = quantity.names[row]
                whole = f"{split(known, name)[0]}.{part}" if part else split(known, name)[0]
                self.names.append(whole)
                self._added.append(quantity.added)
        self.size = len(self.names)
        if len(set(self.names)) < self.size:
            raise SettingError("a constant is named twice", "fit")
        added = np.array(self._added)
        self.low = np.where(added, -OFFSET, np.log(bounds[0]))
        self.high = np.where(added, OFFSET, np.log(bounds[1]))
        self._values = [self._value(i) for i in range(self.size)]

    def parameters(self, x: Float[Array, "B n"]) -> Any:
        """The simulator's parameters for rows of x."""
        of = self._simulator
        columns = {
            name: x[:, i : i + 1] if self._added[i] else jnp.exp(x[:, i : i + 1])
            for i, name in enumerate(self.names)
        }
        return scaled(of.parameters, of.quantities, columns)

    def constants(self, x: np.ndarray, error: np.ndarray) -> list[Constant]:
        """What a solution and its standard errors say."""
        found = []
        for i, name in enumerate(self.names):
            ends = x[i] + NORMAL * error[i] * np.array([-1.0, 0.0, 1.0])
            low, factor, high = (ends if self._added[i] else np.exp(ends)).tolist()
            own = self._values[i]
            value = None if own is None else own + factor if self._added[i] else own * factor
            span = 1e-3 * (self.high[i] - self.low[i])
            at_bound = not self.low[i] + span < x[i] < self.high[i] - span
            found.append(Constant(name, factor, (low, high), value, bool(at_bound)))
        return found

    def _value(self, i: int) -> float | None:
        """The file's value of a constant: what changes first where its factor does."""
        before = self._simulator.parameters
        neutral = np.zeros((1, self.size), np.float32)
        after = self.parameters(jnp.asarray(neutral).at[0, i].set(0.5))
        for old, new in zip(before, after, strict=True):
            changed = np.asarray(old)[np.asarray(old) != np.asarray(new)]
            if changed.size:
                return float(changed[0]) if np.ptp(changed) == 0 else None
        raise SettingError(
            f"{self.names[i]} is 0 in the file, and a factor leaves it so: give the file a first "
            "guess",
            "fit",
        )


class Problem:
    """Least squares over the constants and the start of each window.

    Args:
        simulator: of the robot.
        factors: the constants.
        recorded: (W, rows, nq + nv) in our coordinates.
        control: (W, rows, nu); the last row's is not used.
    """

    def __init__(
        self, simulator: Articulated, factors: Factors, recorded: np.ndarray, control: np.ndarray
    ):
        self._simulator, self._factors = simulator, factors
        self.recorded = recorded
        self._control = jnp.asarray(control[:, :-1], jnp.float32)
        self._tangent = 2 * simulator.model.nv  # of a start
        self._run = jax.jit(self._simulate)
        self._known: tuple[bytes, Any, Any] | None = None

    def solve(self, start: np.ndarray, scale: np.ndarray) -> Any:
        """Fit from constants, or from a whole solution, with residuals divided by `scale`."""
        windows, factors = len(self.recorded), self._factors
        x = np.zeros(factors.size + windows * self._tangent)
        x[: len(start)] = start
        free = np.full(windows * self._tangent, np.inf)
        bounds = np.append(factors.low, -free), np.append(factors.high, free)
        jacobian: Any = partial(self._jacobian, scale=scale)  # scipy's stubs know only strings
        return least_squares(
            partial(self._residual, scale=scale),
            np.clip(x, *bounds),
            jacobian,
            bounds=bounds,
            x_scale="jac",
            ftol=TOLERANCE,
            xtol=TOLERANCE,
            max_nfev=60,
        )

    def fitted(self, x: np.ndarray) -> np.ndarray:
        """(W, rows, nq + nv) for a solution."""
        return self._at(x)[0]

    def noise(self, result: Any) -> np.ndarray:
        """(nq + nv,) standard deviations of a solution's residuals, less what was fitted."""
        residual = self.fitted(result.x) - self.recorded
        rows = residual.shape[0] * residual.shape[1]
        lost = len(result.x) / residual.shape[-1]
        return np.sqrt((residual**2).sum(axis=(0, 1)) / max(rows - lost, 1.0))

    def _residual(self, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return ((self._at(x)[0] - self.recorded) / scale).ravel()

    def _jacobian(self, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        slopes = self._at(x)[1] / scale[:, None]
        windows, rows, width, _ = slopes.shape
        p, n = self._factors.size, self._tangent
        full = np.zeros((windows, rows, width, p + windows * n))
        full[..., :p] = slopes[..., :p]
        for w in range(windows):
            full[w, ..., p + w * n : p + (w + 1) * n] = slopes[w, ..., p:]
        return full.reshape(-1, full.shape[-1])

    def _at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Trajectories and their slopes, kept for the last x."""
        if self._known is None or self._known[0] != x.tobytes():
            p, windows = self._factors.size, len(self.recorded)
            constants = np.tile(x[:p], (windows, 1))
            starts = x[p:].reshape(windows, self._tangent)
            found = self._run(*(jnp.asarray(a, jnp.float32) for a in (constants, starts)))
            path, slopes = (np.moveaxis(np.asarray(a, float), 0, 1) for a in found)
            self._known = x.tobytes(), path, slopes
        return self._known[1], self._known[2]

    def _simulate(
        self, constants: Float[Array, "W p"], starts: Float[Array, "W n"]
    ) -> tuple[Float[Array, "rows W s"], Float[Array, "rows W s m"]]:
        """States and their derivatives with respect to constants and starts."""
        model = self._simulator.model
        first = jnp.asarray(self.recorded[:, 0], jnp.float32)
        moved = partial(_moved, model)
        state = jax.vmap(moved)(first, starts)
        by_start = jax.vmap(jax.jacfwd(moved, argnums=1))(first, starts)
        none = jnp.zeros((*state.shape, constants.shape[-1]))
        slope = jnp.concatenate([none, by_start], axis=-1)

        def advance(carry: tuple[Array, Array], control: Array) -> tuple[Any, Any]:
            state, slope = carry
            after, pull = jax.vjp(partial(self._step, control), state, constants)
            basis = jnp.eye(state.shape[-1])[:, None] * jnp.ones((1, len(state), 1))
            by_state, by_constants = (jnp.moveaxis(a, 0, 1) for a in jax.vmap(pull)(basis))
            slope = jnp.einsum("wij,wjk->wik", by_state, slope)
            slope = slope.at[..., : constants.shape[-1]].add(by_constants)
            return (after, slope), (after, slope)

        _, (path, slopes) = jax.lax.scan(advance, (state, slope), jnp.moveaxis(self._control, 1, 0))
        return jnp.concatenate([state[None], path]), jnp.concatenate([slope[None], slopes])

    def _step(self, control: Array, state: Array, constants: Array) -> Array:
        """States (W, nq + nv) after a control step."""
        nq, simulator = self._simulator.model.nq, self._simulator
        before = simulator.init(len(state))._replace(q=state[:, :nq], qd=state[:, nq:])
        after = simulator.step(before, control, self._factors.parameters(constants))
        return jnp.concatenate([after.q, after.qd], axis=-1)


def _moved(model: Model, state: Float[Array, " s"], by: Float[Array, " n"]) -> Float[Array, " s"]:
    """A state moved by a tangent vector; quaternions turn."""
    q, qd = state[: model.nq], state[model.nq :]
    parts, dof = [], 0
    for start, kind in zip(model.q_start, model.joint, strict=True):
        straight = {Joint.FREE: 3, Joint.BALL: 0}.get(Joint(kind), 1)
        parts.append(q[start : start + straight] + by[dof : dof + straight])
        dof += straight
        if kind in (Joint.FREE, Joint.BALL):
            turn = jnp.concatenate([jnp.ones(1), by[dof : dof + 3] / 2])
            quat = q[start + straight : start + straight + 4]
            parts.append(multiply(quat, turn / jnp.linalg.norm(turn)))
            dof += 3
    return jnp.concatenate([*parts, qd + by[model.nv :]])


def _standard_errors(result: Any) -> np.ndarray:
    """Standard errors of a solution, from its Jacobian; infinite where the data say nothing."""
    freedom = max(len(result.fun) - len(result.x), 1)
    variance = 2 * result.cost / freedom
    size = np.linalg.norm(result.jac, axis=0)
    silent = size == 0
    size = np.where(silent, 1.0, size)
    inverse = np.linalg.pinv((result.jac / size).T @ (result.jac / size), rcond=1e-10)
    return np.where(silent, np.inf, np.sqrt(variance * np.diag(inverse)) / size)


def _simulator(
    robot: str | Path | Articulated, recording: Recording, threads: int | None
) -> Articulated:
    if isinstance(robot, Articulated):
        return robot
    if not isinstance(robot, str | Path):
        raise SettingError(
            "identify takes rigid robots, an MJCF file or an Articulated simulator, not "
            f"{type(robot).__name__}; soft bodies and particles have gradients in their parameters",
            "robot",
        )
    model = load(robot)
    substeps = int(np.ceil(recording.dt / min(LONGEST_SUBSTEP, stable_step(model))))
    return Articulated(model, recording.dt, substeps, threads=threads)


def _columns(model: Model) -> tuple[str, ...]:
    """Names of coordinates and velocities."""
    suffixes = {
        Joint.FREE: (":x", ":y", ":z", ":qw", ":qx", ":qy", ":qz"),
        Joint.BALL: (":qw", ":qx", ":qy", ":qz"),
    }
    names: list[str] = []
    for start, kind in zip(model.v_start, model.joint, strict=True):
        own: Sequence[str] = suffixes.get(Joint(kind), ("",))
        names += [model.dof_names[start].split(":")[0] + suffix for suffix in own]
    return (*names, *(f"{name} velocity" for name in model.dof_names))
