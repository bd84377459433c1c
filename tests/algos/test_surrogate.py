"""The arithmetic of the clipped surrogate methods by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rfo.algos.apg import APG
from rfo.algos.fpo import FPO, Probe, errors
from rfo.algos.ppo import PPO, Behaviour, adapted_rate, likelihood_ratio
from rfo.algos.rfo import RFO
from rfo.algos.rollout import Rollout, rollout, rollout_metrics
from rfo.algos.sac import SAC
from rfo.algos.sapo import SAPO
from rfo.algos.settings import Network
from rfo.algos.shac import SHAC
from rfo.algos.soft_flow import SoftFlow
from rfo.algos.surrogate import (
    asymmetric_surrogate,
    clipped_surrogate,
    estimate_advantages,
    minibatches,
)
from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import Truncating
from rfo.policies.encoder import Identity
from rfo.policies.flow import FlowPolicy
from rfo.policies.gaussian import gaussian_kl, gaussian_log_prob, tanh_gaussian_log_prob
from rfo.policies.normalize import Normalizer

METHODS = (RFO, SAPO, SoftFlow, SHAC, APG, PPO, SAC, FPO)


def test_the_surrogate_stops_paying_beyond_the_clip_but_never_stops_punishing():
    """Ratio and advantage to gain and its derivative in the ratio, one by one."""
    cases = [
        (1.5, 2.0, 1.2 * 2, 0.0),  # a good action has been made likely enough
        (1.1, 2.0, 1.1 * 2, 2.0),
        (0.5, 2.0, 0.5 * 2, 2.0),  # a good action was made unlikely: comes back
        (0.5, -2.0, -0.8 * 2, 0.0),
        (1.5, -2.0, -1.5 * 2, -2.0),
    ]
    for ratio, advantage, gain, slope in cases:
        function = lambda r, a=advantage: clipped_surrogate(r, jnp.asarray(a), 0.2)  # noqa: E731
        value, derivative = jax.value_and_grad(function)(jnp.asarray(ratio))
        assert value == pytest.approx(gain) and derivative == pytest.approx(slope)
    ratios, advantages, gains, _ = (jnp.array(column) for column in zip(*cases, strict=True))
    assert clipped_surrogate(ratios, advantages, 0.2) == pytest.approx(float(gains.mean()))


def test_the_asymmetric_surrogate_leads_bad_actions_back():
    """Good actions as above; for bad ones the derivative changes its sign at 1 - clip."""
    cases = [
        (1.5, 2.0, 1.2 * 2, 0.0),
        (0.5, 2.0, 0.5 * 2, 2.0),
        (1.0, -2.0, -2.0, -2.0),
        (0.8, -2.0, -1.6 - 2 * 0.04 / 0.4, 0.0),
        (0.6, -2.0, -1.2 - 2 * 0.16 / 0.4, 2.0),
    ]
    for ratio, advantage, gain, slope in cases:
        function = lambda r, a=advantage: asymmetric_surrogate(r, jnp.asarray(a), 0.2)  # noqa: E731
        value, derivative = jax.value_and_grad(function)(jnp.asarray(ratio))
        assert value == pytest.approx(gain) and derivative == pytest.approx(slope, abs=1e-5)


def gaussians(seed, batch=50, size=3):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(batch, size)), generator.uniform(-1.5, 0.5, (batch, size))


def test_likelihood_ratio_is_that_of_the_actions_and_1_at_the_old_parameters():
    """Against scipy, and against the density over the action box: the volume of tanh cancels."""
    mean, log_std = gaussians(0)
    noise = np.random.default_rng(1).normal(size=mean.shape)
    latent = mean + np.exp(log_std) * noise
    old = Behaviour(*map(jnp.asarray, (latent, mean, log_std)))
    np.testing.assert_array_equal(likelihood_ratio(old.mean, old.log_std, old), 1.0)
    new_mean, new_log_std = mean + 0.1, log_std - 0.2
    ratio = likelihood_ratio(jnp.asarray(new_mean), jnp.asarray(new_log_std), old)
    density = stats.norm(mean, np.exp(log_std)).logpdf(latent).sum(-1)
    np.testing.assert_allclose(
        gaussian_log_prob(old.mean, old.log_std, old.latent), density, rtol=1e-4
    )
    new_density = stats.norm(new_mean, np.exp(new_log_std)).logpdf(latent).sum(-1)
    np.testing.assert_allclose(ratio, np.exp(new_density - density), rtol=1e-4)
    new_noise = jnp.asarray((latent - new_mean) / np.exp(new_log_std))
    boxed = tanh_gaussian_log_prob(jnp.asarray(new_mean), jnp.asarray(new_log_std), new_noise)
    before = tanh_gaussian_log_prob(old.mean, old.log_std, jnp.asarray(noise))
    np.testing.assert_allclose(ratio, jnp.exp(boxed - before), rtol=1e-3)


def test_divergence_of_gaussians():
    """By hand in one dimension each, and as the mean log ratio of draws."""
    zeros, twice = jnp.zeros(1), jnp.log(2.0) * jnp.ones(1)
    assert gaussian_kl(zeros, zeros, zeros + 1, zeros) == pytest.approx(0.5)
    assert gaussian_kl(zeros, twice, zeros, zeros) == pytest.approx((4 - 1) / 2 - np.log(2))
    mean, log_std = gaussians(2, batch=1)
    other_mean, other_log_std = gaussians(3, batch=1)
    draws = mean + np.exp(log_std) * np.random.default_rng(4).normal(size=(200_000, 3))
    ratio = stats.norm(mean, np.exp(log_std)).logpdf(draws)
    ratio -= stats.norm(other_mean, np.exp(other_log_std)).logpdf(draws)
    kl = gaussian_kl(*map(jnp.asarray, (mean, log_std, other_mean, other_log_std)))
    assert kl[0] == pytest.approx(ratio.sum(-1).mean(), rel=0.02)


def test_learning_rate_follows_the_divergence():
    """Target 0.01: down by 1.5 beyond 0.02, up below 0.005, never out of its bounds."""

    def adapted(rate, kl):
        return float(adapted_rate(jnp.asarray(rate), jnp.asarray(kl), 0.01, 1e-3, 1e-1))

    assert adapted(0.03, 0.021) == pytest.approx(0.02)
    assert adapted(0.03, 0.019) == adapted(0.03, 0.0051) == pytest.approx(0.03)
    assert adapted(0.03, 0.0049) == pytest.approx(0.045)
    assert adapted(0.09, 0.0) == pytest.approx(0.1) and adapted(0.0011, 1.0) == pytest.approx(0.001)


class Probed:
    """A flow policy over 3 dimensions, and draws at which it is probed."""

    policy = FlowPolicy(jax.random.key(0), Identity(2), 3, (8,), source_noise=0.5)
    observation = jax.random.normal(jax.random.key(3), (16, 2))
    probe = Probe(
        jnp.full((16, 3), 0.8),
        jax.random.normal(jax.random.key(1), (16, 8, 3)),
        jax.random.uniform(jax.random.key(2), (16, 8)),
    )


def test_errors_of_a_field_at_rest():
    """v = 0 misses all of the straight line from each draw to the latent."""
    rest = jax.tree.map(jnp.zeros_like, Probed.policy)
    line = 0.8 - 0.5 * Probed.probe.noise
    found = errors(rest, Probed.observation, Probed.probe)
    np.testing.assert_allclose(found, (line**2).mean(-1), rtol=1e-5)


def test_flow_ratio_is_1_at_the_old_parameters_and_rises_towards_the_action():
    """The gradient of exp(E_old - E_new) leads to a field that makes the acted latent likelier."""

    @partial(jax.jit)
    def ascend(policy):
        before = errors(policy, Probed.observation, Probed.probe)

        def ratio(policy):
            return jnp.exp(before - errors(policy, Probed.observation, Probed.probe)).mean()

        value, gradient = jax.value_and_grad(ratio)(policy)
        nearer = jax.tree.map(lambda p, g: p + 0.02 * g, policy, gradient)
        noise = jax.random.normal(jax.random.key(4), (16, 3))
        return value, [
            jnp.abs(p(Probed.observation, noise)[1] - 0.8).mean() for p in (policy, nearer)
        ]

    value, (far, near) = ascend(Probed.policy)
    assert value == 1.0
    assert near < 0.99 * far


class ConstantCritics:
    """Critics with a value of 2 in their own unit in every state."""

    def __call__(self, observation):
        return jnp.full((1, *observation.shape[:-1]), 2.0)


@pytest.mark.usefixtures("annotations_unchecked")
def test_estimate_bootstraps_in_the_units_of_the_rewards_and_cuts_at_terminations_only():
    """Values are 10 + 5 * 2 = 20; one step has r + 0.9 * 20 - 20, or r - 20 at a termination."""
    ones = jnp.ones((1, 3))
    terminated, truncated = jnp.array([[False, True, False]]), jnp.array([[False, False, True]])
    data = Rollout(
        observation=jnp.zeros((1, 3, 2)),
        next_observation=jnp.zeros((1, 3, 2)),
        action=jnp.zeros((1, 3, 1)),
        extras=None,
        reward=4 * ones,
        terminated=terminated,
        truncated=truncated,
        nonfinite=terminated,
        episode_return=ones,
        episode_length=ones,
        duration=jnp.ones((1, 3), int),
    )
    scale = Normalizer(jnp.array([10.0]), jnp.array([25.0]), jnp.asarray(1e9))
    judged = estimate_advantages(ConstantCritics(), Normalizer.init(2), scale, data, 0.9, 0.95)
    np.testing.assert_allclose(judged.target, (np.array([[22.0, 4.0, 22.0]]) - 10) / 5, atol=1e-4)
    raw = np.array([[2.0, -16.0, 2.0]])
    np.testing.assert_allclose(judged.advantage, (raw - raw.mean()) / raw.std(), rtol=1e-4)
    assert judged.scale.count == scale.count + 3


def test_minibatches_are_stretches_of_time():
    steps = jnp.arange(8)[:, None] * jnp.ones((8, 3))
    assert [set(map(float, b)) for b in minibatches(steps, 4)] == [{0, 1}, {2, 3}, {4, 5}, {6, 7}]


def test_clocks_start_at_random_ages_and_cut_the_first_episodes_short():
    """Every age of the episode occurs, and each environment is cut after its remaining steps."""
    env = Batch(Truncating(episode_length=5), 400)
    start = env.staggered(jax.random.key(0))
    assert set(np.asarray(start.elapsed).tolist()) == {0, 1, 2, 3, 4}
    assert np.bincount(start.elapsed).min() > 400 / 5 / 2
    cut = env.step(start, jnp.zeros((400, 1))).truncated
    np.testing.assert_array_equal(cut, start.elapsed == 4)


def test_all_methods_start_in_the_same_states_at_the_same_random_ages():
    env = Batch(Truncating(episode_length=5), 400)
    methods = [kind(network=Network(hidden=(4,))) for kind in METHODS]
    first, *others = jax.jit(lambda key: [m.init(key, env).env for m in methods])(jax.random.key(0))
    assert set(np.asarray(first.elapsed).tolist()) == {0, 1, 2, 3, 4}
    for other in others:
        jax.tree.map(np.testing.assert_array_equal, _data(first), _data(other))


def _data(state):
    return state._replace(key=jax.random.key_data(state.key))


def test_episodes_cut_short_at_the_start_are_not_recorded():
    """In five steps from random ages only environments of age 0 end an episode that was seen whole.
    In five more, every episode is counted once, with the return of its five rewards."""
    env = Batch(Truncating(episode_length=5), 40)
    start = env.staggered(jax.random.key(0))
    noise = jnp.zeros((5, 1))

    def act(observation, noise):
        return jnp.full((40, 1), 0.5), None

    after, first = rollout(env, start, act, noise)
    whole = int((start.elapsed == 0).sum())
    assert 0 < whole < 40
    assert rollout_metrics(first)["episodes"] == whole
    _, second = rollout(env, after, act, noise)
    assert rollout_metrics(second)["episodes"] == 40
    rewards = np.concatenate([first.reward, second.reward])
    sums = [rewards[10 - age - 5 : 10 - age, i].sum() for i, age in enumerate(start.elapsed)]
    assert rollout_metrics(second)["episode_return"] == pytest.approx(np.mean(sums), rel=1e-5)
