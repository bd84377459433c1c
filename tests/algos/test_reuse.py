"""Several steps on one rollout's gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.reuse import FirstOrder, Reuse
from rfo.algos.rfo import RFO
from rfo.algos.sapo import SAPO
from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import LQR
from tuned import tuned

ENV = Batch(LQR(), 16)
SMALL = {
    "horizon": 8,
    "network": {"hidden": (16,)},
    "critic": {"hidden": (16,), "iterations": 1},
}
FREE = {"rfo": {"c_past": 0.0, "c_uni": 0.0}, "sapo": {"initial_alpha": 1e-30}}
METHODS = {"rfo": tuned(RFO(), flow={"steps": 2}, **SMALL), "sapo": tuned(SAPO(), **SMALL)}

every_method = pytest.mark.parametrize(
    "method", ["rfo", pytest.param("sapo", marks=pytest.mark.long)]
)


def updated(method, steps, reach, **settings):
    """State and metrics after a method's first update."""
    algorithm = tuned(METHODS[method], reuse={"steps": steps, "reach": reach}, **settings)
    return jax.jit(lambda key: algorithm.update(algorithm.init(key, ENV), ENV))(jax.random.key(0))


def test_an_action_follows_its_slope_until_it_has_moved_by_its_reach():
    """By hand, at latent 0: latents that moved by 0.05 and 0.2 along and against the slope keep it,
    except for the one that has gone where it should by twice the reach."""
    slope = jnp.array([[[-2.0, -2.0, -2.0, 3.0]]])
    latent = jnp.array([[[-0.05, -0.2, 0.2, -0.2]]])
    J = FirstOrder(jnp.asarray(5.0), slope, jnp.zeros_like(latent), reach=0.1)
    value, gradient = jax.value_and_grad(J)(latent)
    np.testing.assert_allclose(gradient, [[[-2.0, 0.0, -2.0, 3.0]]])
    assert value == pytest.approx(5.0 + 0.1 - 0.4 - 0.6)


def test_the_first_order_return_has_value_and_slope_of_the_return_where_it_was_made():
    """For any return of the latents, here ``sum sin(2 z)``, and from latents that are not 0."""
    z = jax.random.normal(jax.random.key(0), (3, 2, 4))

    def exact(z):
        return jnp.sum(jnp.sin(2 * z))

    J = FirstOrder(exact(z), jax.grad(exact)(z), z, reach=0.1)
    assert J(z) == exact(z)
    np.testing.assert_array_equal(jax.grad(J)(z), jax.grad(exact)(z))


@every_method
def test_more_steps_move_the_policy_further_down_the_same_gradient(method):
    """The first step of several is the only step of one; the others simulate no physics."""
    (one, first), (four, metrics) = (updated(method, steps, reach=10.0) for steps in (1, 4))
    assert metrics["policy_change"] > 2 * first["policy_change"]
    assert metrics["loss_actor"] == pytest.approx(float(first["loss_actor"]), rel=1e-5)
    np.testing.assert_allclose(four.env.observation, one.env.observation, rtol=1e-5)


@every_method
def test_reach_bounds_what_many_steps_do(method):
    """It bounds the return's pull; matching terms and entropy, left out here, are not held back."""
    held, free = (updated(method, 40, reach, **FREE[method])[1] for reach in (0.05, 10.0))
    assert held["policy_change"] < 0.5 * free["policy_change"]


@pytest.mark.parametrize("field", ["steps", "reach"])
def test_steps_and_reach_are_positive(field):
    with pytest.raises(ValueError, match=f"{field} must be positive"):
        Reuse(**{field: 0})
