"""Several steps on one rollout's gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.reuse import pulled
from rfo.algos.rfo import RFO
from rfo.algos.sapo import SAPO
from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import LQR

ENV = Batch(LQR(), 16)
SMALL = {"horizon": 8, "actor_hidden": (16,), "critic_hidden": (16,), "critic_iterations": 1}
FREE = {"rfo": {"c_past": 0.0, "c_uni": 0.0}, "sapo": {"initial_alpha": 1e-30}}
METHODS = {
    "rfo": RFO(flow_steps=2, **SMALL),
    "rfo_paired": RFO(coupling="paired", flow_steps=2, **SMALL),
    "sapo": SAPO(**SMALL),
}


def updated(method, **settings):
    """State and metrics after a method's first update."""
    algorithm = dataclasses.replace(METHODS[method], **settings)
    return jax.jit(lambda key: algorithm.update(algorithm.init(key, ENV), ENV))(jax.random.key(0))


def test_an_action_follows_its_gradient_until_it_has_moved_by_its_reach():
    """By hand, at action 0: latents that moved by 0.05 and 0.2 against and along the pull keep its gradient,
    but for the one that has gone where it should by twice the reach."""
    action, pull = jnp.zeros((1, 1, 4)), jnp.array([[[2.0, 2.0, 2.0, -3.0]]])
    latent = jnp.array([[[-0.05, -0.2, 0.2, -0.2]]])
    value, gradient = jax.value_and_grad(lambda z: pulled(pull, z, action, reach=0.1))(latent)
    np.testing.assert_allclose(gradient, [[[2.0, 0.0, 2.0, -3.0]]])
    assert value == pytest.approx(-0.1 + 0.4 + 0.6)


@pytest.mark.parametrize("method", METHODS)
def test_more_steps_move_the_policy_further_down_the_same_gradient(method):
    """The first step of several is the only step of one; no physics is simulated for the others."""

    (one, first), (four, metrics) = (
        updated(method, actor_steps=steps, reach=10.0) for steps in (1, 4)
    )
    assert metrics["policy_change"] > 2 * first["policy_change"]
    assert metrics["loss_actor"] == pytest.approx(float(first["loss_actor"]), rel=1e-5)
    np.testing.assert_allclose(four.env.observation, one.env.observation, rtol=1e-5)


@pytest.mark.parametrize("method", FREE)
def test_reach_bounds_what_many_steps_do(method):
    """Of the objective's pull; matching terms and entropy, left out here, are not held back."""
    held, free = (
        updated(method, actor_steps=40, reach=reach, **FREE[method])[1] for reach in (0.05, 10.0)
    )
    assert held["policy_change"] < 0.5 * free["policy_change"]


@pytest.mark.parametrize("kind", [RFO, SAPO])
def test_steps_and_reach_are_positive(kind):
    for field in ("actor_steps", "reach"):
        with pytest.raises(ValueError, match=f"{field} must be positive"):
            kind(**{field: 0})


def test_an_unknown_coupling_is_refused():
    with pytest.raises(ValueError, match="unknown coupling 'optimal'; known: independent, paired"):
        RFO(coupling="optimal")
