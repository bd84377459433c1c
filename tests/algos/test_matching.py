"""Flow matching against the Gaussian case, in which everything is known."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.matching import matching_error, uniform_latents
from rfo.algos.rfo import RFO, Past
from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import Quadratic
from rfo.policies.encoder import Identity
from rfo.policies.flow import FlowPolicy, integrate
from tuned import tuned

pytestmark = pytest.mark.usefixtures("annotations_unchecked")  # fields that are no policies
MEAN, STD, SOURCE = 0.7, 0.4, 0.5


@dataclass
class LinearField:
    """The best field plus an error, for targets N(MEAN, STD^2) and a source N(0, SOURCE^2).

    Target and source are independent. E[z - z0 | z_u = x] = m + k(u) (x - u m) with
    k = (u S^2 - (1 - u) s^2) / (u^2 S^2 + (1 - u)^2 s^2).
    """

    shift: float = 0.0
    tilt: float = 0.0
    source_noise: float = SOURCE

    def velocity(self, context, z, u):
        u = u[..., None]
        spread = u**2 * STD**2 + (1 - u) ** 2 * SOURCE**2
        slope = (u * STD**2 - (1 - u) * SOURCE**2) / spread
        return MEAN + self.shift + (slope + self.tilt) * (z - u * MEAN)


def residual(u):
    """Variance of z - z0 that z_u does not explain."""
    spread = u**2 * STD**2 + (1 - u) ** 2 * SOURCE**2
    return STD**2 + SOURCE**2 - (u * STD**2 - (1 - u) * SOURCE**2) ** 2 / spread


def error(field, dims=1):
    target = MEAN + STD * jax.random.normal(jax.random.key(0), (400_000 // dims, dims))
    return float(matching_error(field, None, target, jax.random.key(1)).mean())


def test_error_at_the_minimiser_and_around_it():
    """A field off by delta is worse by E[delta^2], in both directions of two coefficients."""
    u = np.linspace(0, 1, 10001)
    floor = np.trapezoid(residual(u), u)
    assert error(LinearField()) == pytest.approx(floor, rel=0.01)
    assert error(LinearField(shift=0.2)) - floor == pytest.approx(0.04, rel=0.05)
    assert error(LinearField(shift=-0.2)) - floor == pytest.approx(0.04, rel=0.05)
    spread = np.trapezoid(u**2 * STD**2 + (1 - u) ** 2 * SOURCE**2, u)
    for tilt in (0.4, -0.4):
        assert error(LinearField(tilt=tilt)) - floor == pytest.approx(tilt**2 * spread, rel=0.05)


def test_mean_over_dimensions():
    assert error(LinearField(shift=0.2), dims=4) == pytest.approx(
        error(LinearField(shift=0.2)), rel=0.02
    )


def test_no_gradient_enters_the_target():
    policy = FlowPolicy(jax.random.key(0), Identity(2), 3, (8,))
    context = policy.context(jnp.ones((5, 2)))
    gradient = jax.grad(lambda z: matching_error(policy, context, z, jax.random.key(0)).sum())
    np.testing.assert_array_equal(gradient(jnp.ones((5, 3))), 0)


def test_uniform_latents_are_atanh_of_uniform_actions_within_the_clip():
    actions = np.tanh(uniform_latents(jax.random.key(0), (20000, 2), clip=0.9))
    assert np.abs(actions).max() <= 0.9
    np.testing.assert_allclose(np.quantile(actions, [0.1, 0.5, 0.9]), [-0.72, 0, 0.72], atol=0.02)


def test_independent_noise_narrows_what_few_steps_generate():
    """The best field for a policy's own actions N(0, s^2) from an independent source of the same s
    has, by hand, the slopes -1, -0.8, 0 and 0.8 at u = 0, 1/4, 1/2 and 3/4: four Euler steps
    generate 0.72 s, and one generates nothing."""

    def slope(z, u):
        return (2 * u - 1) / (u**2 + (1 - u) ** 2) * z

    assert integrate(slope, jnp.ones(()), 4, "euler") == pytest.approx(0.75 * 0.8 * 1.0 * 1.2)
    assert integrate(slope, jnp.ones(()), 1, "euler") == 0


def test_past_term_weighs_both_rollouts_and_ignores_an_empty_memory():
    """L_past is the current rollout's error at first, and the mean of both once there is a previous
    one."""
    policy = FlowPolicy(jax.random.key(0), Identity(2), 2, (8,))
    observation, other = jax.random.normal(jax.random.key(1), (2, 4, 4, 2))
    latent, ones = jax.random.normal(jax.random.key(2), (4, 4, 2)), jnp.ones((4, 4, 2))
    current, key = Past(observation, latent, jnp.ones(())), jax.random.key(3)

    def past(previous):
        return RFO().matching(policy, policy.context(observation), current, previous, key)[0]

    empty = past(Past(ones, 50 * ones, jnp.zeros(())))
    assert empty == past(Past(9 * ones, 7 * ones, jnp.zeros(())))
    previous = 2 * past(Past(other, 2 * ones, jnp.ones(()))) - empty
    target = jnp.stack([latent, 2 * ones, ones])  # only the middle block matters here
    context = jnp.stack([policy.context(x) for x in (observation, other, observation)])
    error_key, _ = jax.random.split(key)
    by_hand = matching_error(policy, context, target, error_key)[1].mean()
    assert previous == pytest.approx(float(by_hand), rel=1e-4)


def test_rollouts_are_remembered_raw_and_normalised_by_the_statistics_of_the_day():
    """L_past of a second update by hand: both rollouts under the normaliser of that update."""
    env = Batch(Quadratic(), 4)
    small = {"network": {"hidden": (8,)}, "critic": {"hidden": (8,)}, "flow": {"steps": 1}}
    algorithm = tuned(RFO(), horizon=4, **small)
    update = jax.jit(lambda state: algorithm.update(state, env))
    start = jax.jit(lambda key: algorithm.init(key, env))(jax.random.key(0))
    first, _ = update(start._replace(normalizer=start.normalizer._replace(mean=jnp.ones(2))))
    np.testing.assert_array_equal(first.past.observation[0], start.env.observation)
    second, metrics = update(first)
    current, previous = (
        past._replace(observation=first.normalizer(past.observation))
        for past in (second.past, first.past)
    )
    key = jax.random.split(jax.random.split(first.key, 4)[2], 1)[0]
    context = first.actor.context(current.observation)
    by_hand, _ = algorithm.matching(first.actor, context, current, previous, key)
    assert metrics["loss_past"] == pytest.approx(float(by_hand), rel=1e-4)
