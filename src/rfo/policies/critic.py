"""An ensemble of value functions, of states or of states and actions."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp

from rfo.errors import SettingError
from rfo.policies.encoder import Encoder
from rfo.policies.nets import MLP
from rfo.types import Array, Float, Observation, PRNGKey


class Critics(eqx.Module):
    """E independently initialised value networks over one encoder, evaluated together.

    Args:
        key: for the initial weights.
        encoder: encoder of the observation, trained by all critics.
        hidden: widths of the hidden layers.
        activation: activation of the hidden layers.
        ensemble: number E of critics, at least 1.
        gain: gain of the orthogonal initial weights.
        action_size: A for functions Q(s, a); 0 for functions V(s).
        unit: value that an output of 1 stands for; the initial values do not depend on it.

    Raises:
        SettingError: if `ensemble` is not positive.
    """

    encoder: Encoder
    nets: MLP
    """Every array has a leading axis E."""
    unit: float = eqx.field(static=True)
    """Value that an output of 1 stands for. An optimiser moves a weight by about its learning rate,
    whatever the size of the loss, so outputs near 1 follow their targets best."""

    def __init__(
        self,
        key: PRNGKey,
        encoder: Encoder,
        hidden: Sequence[int],
        activation: str = "silu",
        ensemble: int = 2,
        gain: float = 1.0,
        action_size: int = 0,
        unit: float = 1.0,
    ):
        if ensemble < 1:
            raise SettingError(
                f"the ensemble needs at least one critic, not {ensemble}", "ensemble"
            )
        self.encoder = encoder
        sizes = (encoder.size + action_size, *hidden, 1)
        self.nets = jax.vmap(lambda k: MLP(k, sizes, activation, gain, 1 / unit))(
            jax.random.split(key, ensemble)
        )
        self.unit = unit

    def __call__(
        self, observation: Observation, *action: Float[Array, "*batch A"]
    ) -> Float[Array, "E ..."]:
        """Each critic's value of a normalised observation, with an action for functions Q(s, a)."""
        return self.unit * self.output(observation, *action)

    def output(
        self, observation: Observation, *action: Float[Array, "*batch A"]
    ) -> Float[Array, "E ..."]:
        """What the networks predict: values divided by `unit`."""
        encoding = jnp.concatenate([self.encoder(observation), *action], axis=-1)
        # unrolled: on a CPU, separate matrix products beat one with a batch dimension
        members = len(self.nets.biases[0])
        nets = [jax.tree.map(lambda leaf, i=i: leaf[i], self.nets) for i in range(members)]
        return jnp.stack([net(encoding)[..., 0] for net in nets])
