"""The flow policy: noise carried to an action by a learned ordinary differential equation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from rfo.errors import SettingError, require_known
from rfo.policies.encoder import Encoder
from rfo.policies.nets import MLP, product
from rfo.types import Array, Float, Observation, PRNGKey


class Tableau(NamedTuple):
    """An explicit Runge-Kutta method in Butcher's notation."""

    nodes: tuple[float, ...]
    """c, the place in the step at which each stage is evaluated."""
    stages: tuple[tuple[float, ...], ...]
    """A below its diagonal: row i has the weights of the slopes before stage i."""
    weights: tuple[float, ...]
    """b, the weights of the slopes in the step."""


SOLVERS: dict[str, Tableau] = {
    "euler": Tableau((0.0,), ((),), (1.0,)),
    "midpoint": Tableau((0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "heun": Tableau((0.0, 1.0), ((), (1.0,)), (0.5, 0.5)),
    "rk4": Tableau(
        (0.0, 0.5, 0.5, 1.0),
        ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
        (1 / 6, 1 / 3, 1 / 3, 1 / 6),
    ),
}
"""Integrators by name, of order 1, 2, 2 and 4."""


def integrate(
    field: Callable[[Array, float], Array], start: Array, steps: int, solver: str
) -> Array:
    """Carry `start` from u = 0 to u = 1 along ``dz/du = field(z, u)`` in equal steps.

    Raises:
        SettingError: for an unknown solver or fewer than one step.
    """
    require_known(solver, SOLVERS, "solver")
    if steps < 1:
        raise SettingError(f"the flow needs at least one integration step, not {steps}", "steps")
    z = start
    for step in range(steps):
        z = advance(field, z, step, steps, solver)
    return z


def advance(
    field: Callable[[Array, float], Array], z: Array, step: int, steps: int, solver: str
) -> Array:
    """One of the equal steps from u = 0 to u = 1, with the number `step` from 0."""
    tableau, size = SOLVERS[solver], 1.0 / steps
    slopes: list[Array] = []
    for node, row in zip(tableau.nodes, tableau.stages, strict=True):
        slopes.append(field(_combine(z, size, row, slopes), (step + node) * size))
    return _combine(z, size, tableau.weights, slopes)


def _combine(z: Array, size: float, weights: Sequence[float], slopes: Sequence[Array]) -> Array:
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            z = z + (size * weight) * slope
    return z


class FlowPolicy(eqx.Module):
    """Action ``tanh(z_1)`` with ``dz/du = v(z, u, s)`` and ``z_0 = source_noise * noise``.

    Reparameterization flow policy of arXiv 2602.03501, section on flow policies: discretise, then
    differentiate through every step. No likelihood is available or needed.

    Args:
        key: for the initial weights.
        encoder: encoder of the observation.
        action_size: size A of an action.
        hidden: widths of the velocity field's hidden layers, at least one.
        activation: activation of the velocity field.
        steps: number K of integration steps.
        solver: a name in `SOLVERS`.
        source_noise: standard deviation of z_0.
        frequencies: number of Fourier features of u besides u itself.
        gain: gain of the orthogonal initial weights.
        last_scale: factor on the last layer's initial weights; with small values actions start near
            ``tanh(z_0)``.

    Example:
        >>> import jax, rfo
        >>> from rfo.policies.encoder import encoder_for
        >>> key = jax.random.key(0)
        >>> policy = rfo.FlowPolicy(key, encoder_for(key, 2), action_size=1, hidden=(8,), steps=4)
        >>> action, latent = policy(jax.numpy.zeros((4, 2)), jax.numpy.zeros((4, 1)))
        >>> action.shape
        (4, 1)
    """

    encoder: Encoder
    net: MLP
    action_size: int = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    solver: str = eqx.field(static=True)
    source_noise: float = eqx.field(static=True)
    frequencies: int = eqx.field(static=True)

    def __init__(
        self,
        key: PRNGKey,
        encoder: Encoder,
        action_size: int,
        hidden: Sequence[int],
        activation: str = "silu",
        steps: int = 4,
        solver: str = "euler",
        source_noise: float = 1.0,
        frequencies: int = 0,
        gain: float = 1.0,
        last_scale: float = 1.0,
    ):
        if not hidden:
            raise SettingError("the velocity field needs at least one hidden layer", "hidden")
        inputs = encoder.size + action_size + 1 + 2 * frequencies
        self.encoder = encoder
        self.net = MLP(key, (inputs, *hidden, action_size), activation, gain, last_scale)
        self.action_size = action_size
        self.steps = steps
        require_known(solver, SOLVERS, "solver")
        self.solver = solver
        self.source_noise = source_noise
        self.frequencies = frequencies

    def __call__(
        self, observation: Observation, noise: Float[Array, "*batch A"]
    ) -> tuple[Float[Array, "*batch A"], Float[Array, "*batch A"]]:
        """Action in (-1, 1) and latent ``z_1``.

        Args:
            observation: normalised observation.
            noise: standard normal noise.
        """
        latent = self.latent(self.context(observation), noise)
        return jnp.tanh(latent), latent

    def latent(
        self, context: Float[Array, "*batch width"], noise: Float[Array, "*batch A"]
    ) -> Float[Array, "*batch A"]:
        """Latent ``z_1`` in states whose `context` is given."""
        field = partial(self.velocity, context)
        return integrate(field, self.source_noise * noise, self.steps, self.solver)

    def latent_and_log_det(
        self,
        context: Float[Array, "*batch width"],
        noise: Float[Array, "*batch A"],
        probe: Float[Array, "*batch A"],
        terms: int,
    ) -> tuple[Float[Array, "*batch A"], Float[Array, "*batch"]]:
        """Latent ``z_1``, and an estimate of ``log |det dz_1 / dz_0|`` of the discrete map.

        Where ``I + D`` is the Jacobian of a step, ``log det (I + D) = tr D - tr D^2 / 2 + ...``.
        The series is cut after `terms`; each trace is Hutchinson's estimate ``probe^T D^n probe``
        (as in residual flows, arXiv 1906.02735). Two errors remain: the cut, of order
        ``|D|^(terms + 1)``, and the probe's noise.

        Args:
            context: see `latent`.
            noise: see `latent`.
            probe: independent signs, -1 or 1.
            terms: terms of the series, at least one.
        """
        z, log_det = self.source_noise * noise, jnp.zeros(noise.shape[:-1])
        field = partial(self.velocity, context)
        for step in range(self.steps):
            z, pullback = jax.vjp(
                lambda z, step=step: advance(field, z, step, self.steps, self.solver), z
            )
            power = probe
            for n in range(1, terms + 1):
                power = pullback(power)[0] - power
                log_det += (-1) ** (n + 1) / n * jnp.sum(power * probe, -1)
        return z, log_det

    def context(self, observation: Observation) -> Float[Array, "*batch width"]:
        """The state's part of the first layer, which is the same in all K steps."""
        weight, bias = self.net.affine(0)
        return product(self.encoder(observation), weight[: self.encoder.size]) + bias

    def velocity(
        self,
        context: Float[Array, "*#batch width"],
        z: Float[Array, "*batch A"],
        u: Float[Array, "*batch"] | float,
    ) -> Float[Array, "*batch A"]:
        """Velocity ``v(z, u, s)``; `context` stands for s."""
        weight, _ = self.net.affine(0)
        first = self.encoder.size + self.action_size
        time = time_features(jnp.asarray(u, z.dtype), self.frequencies) @ weight[first:]
        drawn = product(z, weight[self.encoder.size : first])
        return self.net.after_first(context + drawn + time)


def time_features(u: Float[Array, "*batch"], frequencies: int) -> Float[Array, "*batch features"]:
    """``(u, sin(pi u), cos(pi u), sin(2 pi u), ...)``: 1 + 2 `frequencies` numbers."""
    angles = [jnp.pi * (n + 1) * u for n in range(frequencies)]
    return jnp.stack([u] + [f(angle) for angle in angles for f in (jnp.sin, jnp.cos)], axis=-1)
