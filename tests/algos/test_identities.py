"""Identities between the methods, and what makes a run repeatable."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glossary import unexplained
from rfo.algos.apg import APG
from rfo.algos.fpo import FPO
from rfo.algos.maximum_entropy import alpha_objective, scaled_entropy
from rfo.algos.ppo import PPO
from rfo.algos.rfo import RFO
from rfo.algos.sac import SAC
from rfo.algos.sapo import SAPO
from rfo.algos.settings import Critic, Ensemble, Flow, Network, Optimiser, Schedule
from rfo.algos.shac import SHAC
from rfo.envs.batch import Batch
from rfo.envs.chunk import ChunkedBatch
from rfo.envs.tasks.probe import LQR, ReachCloud, Terminating
from rfo.errors import SettingError
from rfo.policies.critic import Critics
from rfo.policies.encoder import Identity
from rfo.policies.flow import FlowPolicy
from rfo.policies.gaussian import GaussianPolicy

ENV = Batch(Terminating(life=3), 8)
COMMON = {
    "horizon": 8,
    "network": Network(hidden=(8,), activation="elu"),
    "critic": Critic(hidden=(8,), count=1, iterations=2, learning_rate=2e-3),
    "optimiser": Optimiser(weight_decay=0.0, max_grad_norm=1e9),
}
SHAC_ONE = SHAC(target_keep=0.0, **COMMON)


class GaussianInPlaceOfFlow(GaussianPolicy):
    """A Gaussian with the flow's interface; with weights of zero its field is never used."""

    source_noise: float = eqx.field(static=True, default=1.0)

    def context(self, observation):
        return observation

    def latent(self, context, noise):
        return self(context, noise)[1]

    def velocity(self, context, z, u):
        return jnp.zeros_like(z)


def run(algorithm, state, updates=3):
    step = jax.jit(lambda s: algorithm.update(s, ENV))
    for _ in range(updates):
        state, metrics = step(state)
    return state, metrics


def begin(algorithm, env=ENV):
    return jax.jit(lambda key: algorithm.init(key, env))(jax.random.key(0))


def assert_trees_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


@pytest.fixture(scope="module")
def shac():
    """SHAC without a slow target, before and after three updates."""
    start = begin(SHAC_ONE)
    return start, *run(SHAC_ONE, start)


@pytest.mark.usefixtures("annotations_unchecked")
def test_rfo_without_matching_and_with_a_gaussian_is_shac(shac):
    start, after, metrics = shac
    rfo = RFO(c_past=0.0, c_uni=0.0, critic_target="mean", flow=Flow(steps=1), **COMMON)
    actor = eqx.tree_at(
        lambda a: (a.net, a.log_std),
        GaussianInPlaceOfFlow(jax.random.key(5), Identity(2), 1, (8,)),
        (start.actor.net, start.actor.log_std),
    )
    state = begin(rfo)._replace(
        actor=actor,
        actor_optimizer=start.actor_optimizer,
        critics=start.critics,
        env=start.env,
        key=start.key,
    )
    state, rfo_metrics = run(rfo, state)
    assert_trees_close(state.actor.net, after.actor.net, rtol=1e-5, atol=1e-6)
    assert_trees_close(state.actor.log_std, after.actor.log_std, rtol=1e-5)
    assert_trees_close(state.critics, after.critics, rtol=1e-4, atol=1e-5)
    assert_trees_close(state.env.observation, after.env.observation, rtol=1e-5)
    assert rfo_metrics["grad_norm"] == pytest.approx(float(metrics["grad_norm"]), rel=1e-4)


def test_sapo_with_one_critic_and_no_entropy_is_shac(shac):
    """SAPO's state-dependent sigma starts as SHAC's constant: zero weights, the right bias.

    From then on Adam moves a bias per output differently from SHAC's log sigma, whose unit differs.
    So the test compares one update, and in it the networks.
    """
    start, _, _ = shac
    sapo = SAPO(initial_alpha=1e-30, alpha_learning_rate=0.0, critic_target="mean", **COMMON)
    state = begin(sapo)
    weights, biases = start.actor.net.weights, start.actor.net.biases
    raw = jnp.arctanh((-1.0 + 1.5) / 3.5)  # log sigma = -1.5 + 3.5 tanh(raw)
    net = eqx.tree_at(
        lambda n: (n.weights, n.biases, n.scales, n.offsets),
        state.actor.net,
        (
            (weights[0], jnp.concatenate([weights[1], jnp.zeros_like(weights[1])], 1)),
            (biases[0], jnp.concatenate([biases[1], jnp.full_like(biases[1], raw)])),
            start.actor.net.scales,
            start.actor.net.offsets,
        ),
    )
    state = state._replace(
        actor=eqx.tree_at(lambda a: a.net, state.actor, net),
        critics=start.critics,
        env=start.env,
        key=start.key,
    )
    state, metrics = run(sapo, state, updates=1)
    after, expected = run(SHAC_ONE, start, updates=1)
    assert metrics["loss_actor"] == pytest.approx(float(expected["loss_actor"]), rel=1e-5)
    assert_trees_close(state.actor.net.weights[0], after.actor.net.weights[0], rtol=1e-4, atol=1e-6)
    assert_trees_close(
        state.actor.net.weights[1][:, :1], after.actor.net.weights[1], rtol=1e-4, atol=1e-6
    )
    assert_trees_close(
        state.actor.net.biases[1][:1], after.actor.net.biases[1], rtol=1e-4, atol=1e-6
    )
    assert_trees_close(state.critics, after.critics, rtol=1e-4, atol=1e-5)
    assert_trees_close(state.env.observation, after.env.observation, rtol=1e-5)


def test_entropy_is_scaled_and_tuned_around_its_target():
    assert scaled_entropy(jnp.array(-4.0), target=-4.0) == 0
    assert scaled_entropy(jnp.array(4.0), target=-4.0) == 1
    too_low, too_high = (
        jax.grad(alpha_objective)(jnp.zeros(()), h, -4.0) for h in jnp.array([-5.0, -3.0])
    )
    assert too_low == -4 and too_high == 4  # descending raises alpha when the entropy is too low


def test_return_scale_weighs_sapos_reward_against_its_entropy():
    """A factor c on the return is a factor 1 / c on the entropy, for the actor and the critics."""
    settings = COMMON | {"critic": dataclasses.replace(COMMON["critic"], learning_rate=1e-3)}
    scaled, weighed = SAPO(return_scale=50.0, **settings), SAPO(initial_alpha=0.02, **settings)
    after, metrics = run(scaled, begin(scaled), updates=1)
    expected, expected_metrics = run(weighed, begin(weighed), updates=1)
    assert metrics["loss_actor"] == pytest.approx(
        50 * float(expected_metrics["loss_actor"]), rel=1e-5
    )
    assert metrics["grad_norm"] == pytest.approx(
        50 * float(expected_metrics["grad_norm"]), rel=1e-5
    )
    assert_trees_close(after.critics, expected.critics, rtol=1e-4, atol=1e-6)


def test_target_critic_moves_by_its_share(shac):
    start, _, _ = shac
    slow = SHAC(target_keep=0.75, **COMMON)
    after, _ = run(slow, start, updates=1)
    expected = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, start.target_critics, after.critics)
    assert_trees_close(after.target_critics, expected, rtol=1e-6, atol=1e-7)


TINY = {
    "horizon": 4,
    "schedule": Schedule(updates=5),
    "network": Network(hidden=(8,), point_hidden=(8,), point_features=4, vector_features=4),
}
TINY_CRITIC = {"critic": Critic(hidden=(8,), iterations=2, batches=2)}
SEEDED = [
    RFO(flow=Flow(steps=2), **TINY, **TINY_CRITIC),
    SAPO(**TINY, **TINY_CRITIC),
    SHAC(**TINY, **TINY_CRITIC),
    APG(**TINY),
]


MODEL_FREE = [
    PPO(**TINY, **TINY_CRITIC, batches=2),
    FPO(**TINY, **TINY_CRITIC, batches=2, flow=Flow(steps=2), samples=2, epochs=2),
    SAC(**TINY, critic=Ensemble(hidden=(8,)), gradient_steps=3, batch_size=16, capacity=96),
]


@pytest.mark.parametrize(
    ("algorithm", "task"),
    [(SEEDED[3], ReachCloud(points=4)), (MODEL_FREE[2], LQR())]
    + [pytest.param(method, LQR(), marks=pytest.mark.long) for method in SEEDED[:3]],
    ids=lambda x: getattr(x, "name", None) or x.spec.name,
)
def test_seeds_repeat_differ_and_train_together_as_alone(algorithm, task):
    """tests/training/test_trainer.py has the same of RFO."""
    env = Batch(task, 8)

    def train(seed):
        start = algorithm.init(jax.random.key(seed), env)
        state, metrics = jax.lax.scan(lambda s, _: algorithm.update(s, env), start, None, 4)
        return state.actor, state.normalizer, metrics

    alone = jax.jit(train)
    together = jax.jit(jax.vmap(train))(jnp.arange(2))
    for seed in range(2):
        result = alone(seed)
        jax.tree.map(np.testing.assert_array_equal, result, alone(seed))
        member = jax.tree.map(lambda x, i=seed: x[i], together)
        assert_trees_close(result, member, rtol=2e-4, atol=2e-5)
    assert jnp.abs(alone(0)[2]["reward"] - alone(1)[2]["reward"]).min() > 1e-4


@pytest.mark.parametrize("algorithm", SEEDED, ids=lambda a: a.name)
def test_actor_and_critics_have_encoders_of_their_own_and_vectors_have_none(algorithm):
    """The keys of the networks do not depend on whether there are encoders."""
    vector = begin(algorithm)
    assert not jax.tree.leaves(vector.actor.encoder)
    cloud = begin(algorithm, Batch(ReachCloud(points=4), 2))
    assert (
        cloud.actor.encoder.size
        == cloud.actor.net.weights[0].shape[0] - inputs_beside(cloud.actor)
        == 8
    )
    if algorithm.name == "apg":
        return
    _, _, critic_key, _ = jax.random.split(jax.random.key(0), 4)
    before = jax.jit(lambda key: Critics(key, Identity(2), (8,), "silu", algorithm.critic.count))(
        critic_key
    )
    assert_trees_close(vector.critics.nets.weights, before.nets.weights, atol=1e-6)
    pairs = zip(
        jax.tree.leaves(cloud.actor.encoder), jax.tree.leaves(cloud.critics.encoder), strict=True
    )
    assert all(jnp.abs(a - c).max() > 0.1 for a, c in pairs if a.ndim == 2)


def inputs_beside(actor):
    """Inputs of the first layer beside the encoding: a flow has the latent and the time."""
    return actor.action_size + 1 if isinstance(actor, FlowPolicy) else 0


@pytest.mark.parametrize("algorithm", SEEDED + MODEL_FREE, ids=lambda a: a.name)
def test_a_state_keeps_its_types_and_the_metrics_are_explained(algorithm):
    """This includes weak types: another type after the first update would compile it twice."""
    start = jax.eval_shape(lambda key: algorithm.init(key, ENV), jax.random.key(0))
    after, metrics = jax.eval_shape(lambda s: algorithm.update(s, ENV), start)
    assert unexplained(metrics) == set(), "add them to docs/glossary.md"
    types = [
        [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(state)]
        for state in (start, after)
    ]
    assert types[0] == types[1]


@pytest.mark.parametrize("algorithm", MODEL_FREE, ids=lambda a: a.name)
@pytest.mark.parametrize("chunk", [1, 2])
def test_model_free_updates_keep_their_state_with_points_and_chunks(algorithm, chunk):
    """Computes shapes only. Minibatches that do not divide the decisions are refused."""
    env = ChunkedBatch(ReachCloud(points=4), 8, chunk, algorithm.gamma)
    start = jax.eval_shape(lambda key: algorithm.init(key, env), jax.random.key(0))
    after, metrics = jax.eval_shape(lambda s: algorithm.update(s, env), start)
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (start, after)]
    assert shapes[0] == shapes[1]
    assert all(x.shape == () for x in metrics.values())
    assert {
        "episodes",
        "episode_return",
        "reward",
        "nonfinite",
        "grad_norm",
        "grad_norm_clipped",
    } <= set(metrics)
    if algorithm.name != "sac" and chunk == 2:
        odd = dataclasses.replace(algorithm, batches=4)
        with pytest.raises(ValueError, match=r"batches \(4\) must divide the 2 steps"):
            odd.init(jax.random.key(0), env)


def test_policy_acts_with_and_without_noise():
    algorithm = SEEDED[0]
    state = begin(algorithm)
    policy = algorithm.policy(state)
    observation = jnp.ones((5, 2))
    quiet = policy(observation, None)
    assert quiet.shape == (5, 1) and jnp.all(quiet == quiet[0])
    assert jnp.std(policy(observation, jax.random.key(1))) > 0.01


@pytest.mark.parametrize(
    ("record", "settings", "message"),
    [
        (RFO, {"c_past": -1.0}, "c_past must be not negative, not -1.0"),
        (RFO, {"horizon": 10}, r"critic.batches \(4\) must divide the 10 steps"),
        (RFO, {"critic_target": "max"}, "critic_target must be one of min, mean, not 'max'"),
        (RFO, {"uniform_clip": 1.0}, r"uniform_clip must be in \[0, 1\), not 1.0"),
        (SAPO, {"gamma": 1.5}, r"gamma must be in \[0, 1\], not 1.5"),
        (SAPO, {"target_entropy": 1.0}, "target_entropy must be negative"),
        (SAPO, {"min_log_std": 2.0}, r"min_log_std must be below max_log_std \(2.0\), not 2.0"),
        (SHAC, {"target_keep": float("nan")}, "target_keep must be in"),
        (APG, {"return_scale": 0.0}, "return_scale must be positive"),
        (PPO, {"batches": 5}, r"batches \(5\) must divide the 32 steps"),
        (PPO, {"min_std": 1.0}, r"min_std must be below max_std \(1.0\), not 1.0"),
        (PPO, {"min_learning_rate": 0.1}, "min_learning_rate must be below max_learning_rate"),
        (FPO, {"samples": 0}, "samples must be positive"),
        (SAC, {"n_step": 0}, "n_step must be positive"),
        (SAC, {"target_rate": 1.5}, r"target_rate must be in \[0, 1\]"),
        (Flow, {"steps": 0}, "steps must be positive, not 0"),
        (Flow, {"solver": "eule"}, "solver must be one of euler, midpoint, heun, rk4, not 'eule'"),
        (Network, {"hidden": ()}, r"hidden must be positive widths, not \(\)"),
        (Network, {"activation": "reloo"}, "activation must be one of elu, relu, silu, tanh"),
        (Network, {"pooling": "sum"}, "pooling must be one of mean, max, not 'sum'"),
        (
            Network,
            {"point_hidden": (64, 0)},
            r"point_hidden must be positive widths, not \(64, 0\)",
        ),
        (Network, {"vector_features": 0}, "vector_features must be positive, not 0"),
        (Critic, {"iterations": 0}, "iterations must be positive"),
        (Ensemble, {"count": 0}, "count must be positive"),
        (Optimiser, {"learning_rate": float("nan")}, "learning_rate must be positive"),
        (Optimiser, {"beta2": 1.0}, r"beta2 must be in \[0, 1\)"),
        (Schedule, {"updates": 0}, "updates must be positive"),
        (Schedule, {"updates": 5, "begin": 5}, r"begin must be below updates \(5\), not 5"),
    ],
)
def test_bad_settings_are_refused_by_name(record, settings, message):
    with pytest.raises(SettingError, match=message) as refused:
        record(**settings)
    field = refused.value.field
    assert str(refused.value).startswith(field)
    assert field in settings or field == "critic.batches"
