"""PPO, SAC and FPO find a known optimum and its value from rewards, but only from their own."""

import jax
import jax.numpy as jnp
import pytest
from test_learning import explained

from rfo.algos.fpo import FPO
from rfo.algos.ppo import PPO
from rfo.algos.sac import SAC
from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import Truncating
from tuned import tuned

SMALL = {"horizon": 4, "gamma": 0.9, "network": {"hidden": (32,)}}
CRITIC = {"hidden": (32,), "learning_rate": 5e-3}
ON_POLICY = SMALL | {"batches": 2, "epochs": 4, "critic": CRITIC | {"batches": 2, "iterations": 4}}
OFF_POLICY = SMALL | {"gradient_steps": 24, "batch_size": 128, "capacity": 8192, "critic": CRITIC}
METHODS = {
    "ppo": (tuned(PPO(), **ON_POLICY, target_kl=0.03, optimiser={"learning_rate": 5e-3}), 80),
    "sac": (
        tuned(
            SAC(),
            **OFF_POLICY,
            optimiser={"learning_rate": 5e-3, "final_learning_rate": 1e-3},
            initial_alpha=1e-2,
            alpha_learning_rate=0.0,
            target_rate=0.05,
        ),
        60,
    ),
    "fpo": (
        tuned(
            FPO(),
            **ON_POLICY,
            flow={"steps": 4},
            optimiser={"learning_rate": 1e-3},
            schedule={"updates": 130},
            clip=0.1,
        ),
        130,
    ),
}


class Misattributed:
    """A task that pays every environment the reward of its neighbour where `wrong` is true."""

    def __init__(self, task, wrong):
        self.task, self.wrong, self.spec = task, wrong, task.spec
        self.reset, self.observe = task.reset, task.observe

    def step(self, state, action):
        step = self.task.step(state, action)
        return step._replace(reward=jnp.where(self.wrong, jnp.roll(step.reward, 1), step.reward))


def train(algorithm, task, updates, check, size=64):
    """Metrics and `check` of the final state, each with its own and with a neighbour's rewards."""

    def one(wrong):
        env = Batch(Misattributed(task, wrong), size)
        state, metrics = jax.lax.scan(
            lambda s, _: algorithm.update(s, env),
            algorithm.init(jax.random.key(0), env),
            None,
            updates,
        )
        return metrics, check(state, env.task.observe)

    return jax.jit(jax.vmap(one))(jnp.array([False, True]))


def values(state, observation):
    """Mean value of states: by V, or by Q at the policy's action."""
    if hasattr(state, "value_scale"):
        return state.value_scale.inverse(state.critics(observation).mean(0)[..., None])
    action = state.actor(observation, jnp.zeros((len(observation), 1)))[0]
    return state.critics(observation, action).min(0)


@pytest.mark.parametrize("name", METHODS)
def test_finds_the_optimum_and_its_value_only_from_its_own_rewards(name):
    """They find the best action, and a value of 1 / (1 - 0.9) = 10 although the clock cuts episodes
    after 5 steps.

    If a cut counted as an end, the value would be 2.8 at the most.
    """
    algorithm, updates = METHODS[name]
    task = Truncating(discount=0.9)
    states = task.reset(jax.random.key(9), 100)
    action_explained = explained(algorithm, task)

    def check(state, observe):
        return action_explained(state, observe), values(
            state, state.normalizer(observe(states))
        ).mean()

    metrics, ((own, foreign), (value, _)) = train(algorithm, task, updates, check)
    assert own > 0.7
    assert foreign < 0.4
    assert 9 < value < 10.5
    assert (metrics["nonfinite"] == 0).all() and (metrics["skipped_updates"] == 0).all()
