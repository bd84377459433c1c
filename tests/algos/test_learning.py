"""Every method finds the known optimum of a closed-form task, but not without the gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.apg import APG
from rfo.algos.rfo import RFO
from rfo.algos.sapo import SAPO
from rfo.algos.shac import SHAC
from rfo.envs.batch import Batch
from rfo.envs.chunk import ChunkedBatch
from rfo.envs.tasks.probe import LQR, Bimodal, Delayed, ReachCloud, Terminating
from tuned import tuned

SMALL = {
    "horizon": 8,
    "schedule": {"updates": 300},
    "network": {"hidden": (32,), "activation": "silu", "gain": 1.0},
    "optimiser": {"learning_rate": 1e-2},
}
CRITIC = {"critic": {"hidden": (32,), "iterations": 2, "batches": 2, "learning_rate": 5e-3}}
MATCHED = {"flow": {"steps": 2, "source_noise": 0.2}, "c_past": 0.02, "c_uni": 0.02}
SOFT = {"initial_alpha": 0.01, "alpha_learning_rate": 1e-3}


class Severed:
    """A task whose reward and next state carry no gradient where `cut` is true."""

    def __init__(self, task, cut):
        self.task, self.cut, self.spec = task, cut, task.spec
        self.reset, self.observe = task.reset, task.observe

    def step(self, state, action):
        step = self.task.step(state, action)
        return jax.tree.map(lambda x: jnp.where(self.cut, jax.lax.stop_gradient(x), x), step)


class Blinded:
    """A task whose point cloud is all zero where `hidden` is true."""

    def __init__(self, task, hidden):
        self.task, self.hidden, self.spec, self.reset = task, hidden, task.spec, task.reset

    def observe(self, state):
        observation = self.task.observe(state)
        return {**observation, "cloud": jnp.where(self.hidden, 0.0, observation["cloud"])}

    def step(self, state, action):
        step = self.task.step(state, action)
        return step._replace(observation=self.observe(step.state))


def train(
    algorithm,
    task,
    size,
    updates,
    seed=0,
    check=lambda state, observe: None,
    impair=Severed,
    ways=(False, True),
    batch=Batch,
):
    """Train on ``impair(task, way)`` for all ways in one program: with gradient and without.

    Returns states, metrics and `check` of the states, each with a leading axis over the ways.
    """

    def one(way):
        env = batch(impair(task, way), size)
        state, metrics = jax.lax.scan(
            lambda s, _: algorithm.update(s, env),
            algorithm.init(jax.random.key(seed), env),
            None,
            updates,
        )
        return state, metrics, check(state, env.task.observe)

    return jax.jit(jax.vmap(one))(jnp.array(ways))


def explained(algorithm, task, relevant=lambda states: jnp.ones(1)):
    """Share of the best action's variance over states that the deterministic policy gets right.

    With chunks it is about the first action.
    """
    states = task.reset(jax.random.key(99), 256)
    best = task.best_action(states)
    keep = relevant(states)

    def check(state, observe):
        action = algorithm.policy(state)(observe(states), None)[:, : best.shape[1]]
        return 1 - jnp.sum(keep * (action - best) ** 2) / jnp.sum(keep * best**2)

    return check


METHODS = {
    "rfo": tuned(RFO(), **MATCHED, **SMALL, **CRITIC),
    "sapo": tuned(SAPO(), **SOFT, **SMALL, **CRITIC),
    "shac": tuned(SHAC(), initial_log_std=-2.0, **SMALL, **CRITIC),
    "apg": tuned(APG(), initial_log_std=-2.0, **SMALL | {"horizon": 16}),
}
"""APG's rollouts are longer: without a critic, actions near their end answer to few rewards."""


@pytest.mark.parametrize("name", METHODS)
def test_finds_the_lqr_optimum_only_through_the_gradient(name):
    """The policy gets the best action right, but not without the environment's gradient."""
    task = LQR(episode_length=16)
    _, metrics, (intact, cut) = train(
        METHODS[name], task, 32, 300, check=explained(METHODS[name], task)
    )
    assert intact > 0.9
    assert cut < 0.3
    assert (metrics["nonfinite"] == 0).all() and (metrics["skipped_updates"] == 0).all()


@pytest.mark.parametrize(
    "name", ["apg", *(pytest.param(name, marks=pytest.mark.long) for name in ("rfo", "sapo"))]
)
def test_finds_the_lqr_optimum_in_chunks(name):
    """Without noise the open-loop optimum is the closed-loop one: a chunk starts with -K x."""
    task = LQR(episode_length=16)
    method = METHODS[name]
    _, _, (intact, cut) = train(
        method,
        task,
        32,
        300,
        check=explained(method, task),
        batch=lambda task, size: ChunkedBatch(task, size, 4, method.gamma),
    )
    assert intact > 0.9
    assert cut < 0.3


CLOUD_NETWORK = {"hidden": (32,), "gain": 1.0}
CLOUD_NETWORK |= {"point_hidden": (16, 16), "point_features": 16, "vector_features": 16}
CLOUD = {
    "horizon": 1,
    "schedule": {"updates": 150},
    "optimiser": {"learning_rate": 1e-2},
    "critic": {"hidden": (16,), "iterations": 1, "batches": 1},
}
SEEING = {
    "rfo": tuned(RFO(), **MATCHED, **CLOUD, network=CLOUD_NETWORK),
    "sapo": tuned(SAPO(), **SOFT, **CLOUD, network=CLOUD_NETWORK | {"pooling": "max"}),
}


@pytest.mark.parametrize("name", ["rfo", pytest.param("sapo", marks=pytest.mark.long)])
def test_reaches_what_only_the_points_tell(name):
    """It fails without the gradient, and without the points.

    They have 1.01 / 1.17 of the variance.
    """
    task = ReachCloud(points=8)
    _, metrics, (intact, cut, blind) = train(
        SEEING[name],
        task,
        32,
        150,
        check=explained(SEEING[name], task),
        impair=lambda task, way: Severed(Blinded(task, way == 2), way == 1),
        ways=(0, 1, 2),
    )
    assert intact > 0.9
    assert cut < 0.3 and blind < 0.3
    assert (metrics["nonfinite"] == 0).all() and (metrics["skipped_updates"] == 0).all()


DELAYED = {
    "horizon": 1,
    "schedule": {"updates": 400},
    "network": {"hidden": (16,), "gain": 1.0},
    "critic": {"hidden": (32,), "iterations": 4, "batches": 1, "learning_rate": 1e-2},
}
BOOTSTRAPPED = {
    "rfo": tuned(RFO(), flow={"steps": 1}, c_past=0.0, c_uni=0.0, **DELAYED),
    "sapo": tuned(SAPO(), **SOFT, **DELAYED),
    "shac": tuned(SHAC(), **DELAYED),
}


@pytest.mark.parametrize(
    "name", ["rfo", *(pytest.param(name, marks=pytest.mark.long) for name in ("sapo", "shac"))]
)
def test_bootstraps_from_the_next_observation(name):
    """In rollouts of one step the reward never depends on the action: only V(s_t+1) teaches.

    A bootstrap from V(s_t) has no gradient in the action and would fail like the severed task.
    """
    task = Delayed()
    check = explained(BOOTSTRAPPED[name], task, lambda states: ~states.second[:, None])
    _, _, (intact, cut) = train(BOOTSTRAPPED[name], task, 64, 400, check=check)
    assert intact > 0.9
    assert cut < 0.3


@pytest.mark.parametrize("chunk", [pytest.param(1, marks=pytest.mark.long), 4])
def test_critics_learn_the_value_across_terminations(chunk):
    """On the countdown task V is 1 + g + ... + g^(n-1).

    Without the terminations it would be 1 / (1 - g). It holds in chunks, too, where lives of 1 to 7
    steps end inside the first or the second chunk.
    """
    task = Terminating(life=4 if chunk == 1 else 7, discount=0.9)
    algorithm = tuned(SHAC(), gamma=0.9, initial_log_std=-3.0, **SMALL, **CRITIC)
    states = task.reset(jax.random.key(9), 100)

    def values(state, observe):
        return state.critics(state.normalizer(observe(states)))[0]

    _, _, (learned,) = train(
        algorithm,
        task,
        32,
        300,
        check=values,
        ways=(False,),
        batch=lambda task, size: ChunkedBatch(task, size, chunk, algorithm.gamma),
    )
    np.testing.assert_allclose(learned, task.value(states), atol=0.15)


def test_only_the_flow_splits_the_noise():
    """Two wells: RFO comes near the optimum over all distributions, SHAC near the best Gaussian."""
    task = Bimodal()
    settings = {
        "horizon": 2,
        "schedule": {"updates": 250},
        "network": {"hidden": (32, 32)},
        "critic": {"hidden": (8,), "iterations": 1, "batches": 1},
        "optimiser": {"learning_rate": 5e-3},
    }
    earned = {}
    for method in (RFO, SHAC):
        _, metrics, _ = train(tuned(method(), **settings), task, 64, 250, ways=(False,))
        earned[method.name] = metrics["episode_return"][0, -25:].mean()
    assert earned["rfo_fixed"] > 0.8 * task.best_return
    assert earned["shac"] < task.best_gaussian_return() + 0.05
