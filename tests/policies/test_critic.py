"""Critics whose outputs stand for more than 1."""

import jax
import jax.numpy as jnp
import numpy as np

from rfo.algos.fitting import fit_critics
from rfo.algos.optimize import Descent, DescentState
from rfo.algos.settings import Critic, Optimiser
from rfo.policies.critic import Critics
from rfo.policies.encoder import Identity

X = jax.random.normal(jax.random.key(1), (8, 4, 3))


def critics(unit):
    return Critics(jax.random.key(0), Identity(3), (16,), unit=unit)


def test_values_are_outputs_times_the_unit_and_start_the_same():
    np.testing.assert_allclose(critics(100.0)(X), 100 * critics(100.0).output(X), rtol=1e-5)
    np.testing.assert_allclose(critics(100.0)(X), critics(1.0)(X), rtol=1e-5)


def test_a_fit_in_units_reaches_large_targets_as_fast_as_small_ones():
    """In 60 steps; in plain values no weight could move far enough for a hundredfold target."""

    def fitted(unit):
        settings = Critic(hidden=(16,), iterations=30, batches=2)
        descent = Descent(Optimiser(weight_decay=0.0), 1e-2)
        start = critics(unit)
        target = unit * (3.0 + X[..., 0])
        return fit_critics(start, (descent, DescentState.init(start)), X, target, settings)

    for unit in (1.0, 100.0):
        fit, _, metrics = fitted(unit)
        assert metrics["critic_loss"] < 0.3
        assert jnp.abs(fit(X) / unit - (3.0 + X[..., 0])).mean() < 0.5
