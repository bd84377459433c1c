"""SAPO: soft analytic policy optimization, SHAC with maximum entropy (arXiv 2412.12089)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from rfo.algos.maximum_entropy import MaximumEntropy, Noise
from rfo.algos.settings import require_order
from rfo.policies.encoder import Encoder
from rfo.policies.gaussian import TanhGaussianPolicy, tanh_gaussian_log_prob
from rfo.types import Array, Float, Observation, PRNGKey


@dataclass(frozen=True)
class SAPO(MaximumEntropy):
    """Soft Analytic Policy Optimization: maximum entropy with a squashed Gaussian.

    The entropy is estimated from a separate draw, not from the action's own.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.SAPO(initial_alpha=0.2).initial_alpha
        0.2
    """

    name: ClassVar[str] = "sapo"

    min_log_std: float = -5.0
    """Lower bound of the log standard deviation before tanh."""
    max_log_std: float = 2.0
    """Upper bound of the log standard deviation before tanh."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_order(self, "min_log_std", "max_log_std")

    def new_actor(self, key: PRNGKey, encoder: Encoder, action_size: int) -> TanhGaussianPolicy:
        """The initial policy."""
        return TanhGaussianPolicy(
            key,
            encoder,
            action_size,
            min_log_std=self.min_log_std,
            max_log_std=self.max_log_std,
            **self.network.layers,
        )

    def latent_and_entropy(
        self, actor: TanhGaussianPolicy, observation: Observation, noise: Noise
    ) -> tuple[Float[Array, "*batch A"], Float[Array, "*batch"]]:
        """A latent, and the entropy estimated at another one."""
        action_noise, entropy_noise = noise
        mean, log_std = actor.parameters(observation)
        entropy = -tanh_gaussian_log_prob(mean, log_std, entropy_noise)
        return mean + jnp.exp(log_std) * action_noise, entropy
