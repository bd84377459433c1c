"""Flow matching against the Gaussian case, in which everything is known."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.matching import matching_error, paired_uniform_latents, uniform_latents
from rfo.algos.rfo import RFO, Past
from rfo.algos.rollout import rollout
from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import Quadratic
from rfo.policies.encoder import Identity
from rfo.policies.flow import FlowPolicy, integrate
from rfo.policies.normalize import Normalizer

pytestmark = pytest.mark.usefixtures("annotations_unchecked")  # fields that are no policies
MEAN, STD, SOURCE = 0.7, 0.4, 0.5


@dataclass
class LinearField:
    """The minimiser for targets N(MEAN, STD^2) and an independent source N(0, SOURCE^2), plus an error.

    E[z - z0 | z_u = x] = m + k(u) (x - u m) with k = (u S^2 - (1 - u) s^2) / (u^2 S^2 + (1 - u)^2 s^2).
    """

    shift: float = 0.0
    tilt: float = 0.0
    source_noise: float = SOURCE

    def velocity(self, context, z, u):
        u = u[..., None]
        spread = u**2 * STD**2 + (1 - u) ** 2 * SOURCE**2
        slope = (u * STD**2 - (1 - u) * SOURCE**2) / spread
        return MEAN + self.shift + (slope + self.tilt) * (z - u * MEAN)


@dataclass
class Shear:
    """A flow along straight lines to 1 + 2 z_0, the same with any number of steps."""

    source_noise: float = SOURCE

    def __call__(self, observation, noise):
        latent = 1.0 + 2.0 * self.source_noise * noise
        return jnp.tanh(latent), latent

    def context(self, observation):
        return observation

    def velocity(self, context, z, u):
        u = u[..., None]
        return 1.0 + (z - u) / (1.0 + u)


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


def test_paired_uniform_latents_are_the_quantiles_of_their_noise():
    """By hand: Phi(0) = 1/2 and Phi(1) = 0.8413; and uniform over the box, as the independent ones are."""
    noise = jnp.array([0.0, 1.0, -1.0, 9.0])
    actions = np.tanh(paired_uniform_latents(noise, clip=0.9))
    np.testing.assert_allclose(actions, 0.9 * np.array([0.0, 0.6827, -0.6827, 1.0]), atol=1e-4)
    drawn = np.tanh(
        paired_uniform_latents(jax.random.normal(jax.random.key(0), (20000,)), clip=0.9)
    )
    np.testing.assert_allclose(np.quantile(drawn, [0.1, 0.5, 0.9]), [-0.72, 0, 0.72], atol=0.02)


def test_independent_noise_narrows_what_few_steps_generate_and_paired_noise_does_not():
    """The best field for a policy's own actions N(0, s^2) from an independent source of the same s has, by
    hand, the slopes -1, -0.8, 0 and 0.8 at u = 0, 1/4, 1/2 and 3/4: four Euler steps generate 0.72 s. With
    each action paired with the noise it was made of the lines are the flow's own, and nothing is lost."""

    def slope(z, u):
        return (2 * u - 1) / (u**2 + (1 - u) ** 2) * z

    assert integrate(slope, jnp.ones(()), 4, "euler") == pytest.approx(0.75 * 0.8 * 1.0 * 1.2)
    assert integrate(slope, jnp.ones(()), 1, "euler") == 0
    policy = Shear()
    algorithm = RFO(coupling="paired", c_uni=0.0)
    noise = jax.random.normal(jax.random.key(0), (4, 4, 2))
    latent = policy(jnp.zeros((4, 4, 2)), noise)[1]
    data = rollout(
        Batch(Quadratic(), 4),
        Batch(Quadratic(), 4).init(jax.random.key(1)),
        lambda o, e: policy(o, e),
        noise,
    )[1]
    memory = Past(data.observation, latent, policy.source_noise * noise, jnp.ones(()))
    normalize = Normalizer.init(2)
    context = policy.context(normalize(data.observation))
    error, _ = algorithm._matching(
        policy, normalize, context, data, noise, memory, jax.random.key(2)
    )
    assert error == pytest.approx(0.0, abs=1e-10)


def test_past_term_weighs_both_rollouts_and_ignores_an_empty_memory():
    """L_past is the current rollout's error at first, and the mean of both once there is a previous one;
    stored observations are normalised when used, so they must be kept raw."""
    env, algorithm = Batch(Quadratic(), 4), RFO(horizon=4, actor_hidden=(8,), critic_hidden=(8,))
    state = algorithm.init(jax.random.key(0), env)
    _, data = rollout(env, state.env, state.actor, jnp.ones((4, 4, 2)))
    ones = jnp.ones((4, 4, 2))

    def past(memory, normalizer=state.normalizer):
        context = state.actor.context(normalizer(data.observation))
        key = jax.random.key(1)
        return algorithm._matching(state.actor, normalizer, context, data, ones, memory, key)[0]

    empty = past(Past(ones, 50 * ones, ones, jnp.zeros(())))
    assert empty == past(Past(9 * ones, 7 * ones, 5 * ones, jnp.zeros(())))
    other = Past(ones, 2 * ones, ones, jnp.ones(()))
    previous = 2 * past(other) - empty
    target = jnp.stack([data.extras, 2 * ones, ones])  # only the middle block matters here
    context = jnp.stack(
        [state.actor.context(state.normalizer(x)) for x in (data.observation, ones, ones)]
    )
    error_key, _ = jax.random.split(jax.random.key(1))
    by_hand = matching_error(state.actor, context, target, error_key)[1].mean()
    assert previous == pytest.approx(float(by_hand), rel=1e-4)
    shifted = state.normalizer._replace(mean=jnp.ones(2))
    assert past(other) != past(other, shifted)


def test_exploration_weight_falls_linearly_to_its_final_value():
    """By hand: at the end of its schedule and beyond the weight is the final one."""
    fading = RFO(c_uni=1.0, final_c_uni=0.2, updates=10)
    weights = [float(fading._c_uni(jnp.asarray(n))) for n in (0, 5, 10, 20)]
    assert weights == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert RFO(c_uni=0.3)._c_uni(jnp.asarray(7)) == 0.3
    with pytest.raises(ValueError, match="final_c_uni must be not negative"):
        RFO(final_c_uni=-0.1)
