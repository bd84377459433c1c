"""Every method that differentiates through the environment tells which gradients it lost there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.apg import APG
from rfo.algos.base import DROPPED, DROPPED_IN
from rfo.algos.fpo import FPO
from rfo.algos.ppo import PPO
from rfo.algos.rfo import RFO
from rfo.algos.sac import SAC
from rfo.algos.sapo import SAPO
from rfo.algos.shac import SHAC
from rfo.algos.soft_flow import SoftFlow
from rfo.envs.base import Step
from rfo.envs.batch import Batch
from rfo.envs.chunk import ChunkedBatch
from rfo.envs.tasks.probe import LQR
from tuned import tuned

SMALL = {"horizon": 8, "network": {"hidden": (4,)}}
CRITIC = {"critic": {"hidden": (4,), "iterations": 1, "batches": 2}}
METHODS = {
    "apg": tuned(APG(), **SMALL),
    "shac": tuned(SHAC(), **SMALL, **CRITIC),
    "sapo": tuned(SAPO(), **SMALL, **CRITIC),
    "soft_flow": tuned(SoftFlow(), **SMALL, **CRITIC),
    "rfo": tuned(RFO(), **SMALL, **CRITIC, flow={"steps": 1}),
    "ppo": tuned(PPO(), **SMALL, **CRITIC, batches=2, epochs=1),
    "fpo": tuned(FPO(), **SMALL, **CRITIC, batches=2, epochs=1),
    "sac": tuned(SAC(), **SMALL, gradient_steps=1, batch_size=4, capacity=64),
}


class Blind(LQR):
    """LQR whose reward is right, with a derivative that is NaN in environments from `sighted` on.

    The root is of 0, behind a `where` that does not choose it, as in a contact that is not made.
    """

    def __init__(self, sighted=0):
        super().__init__()
        self.sighted = sighted

    def step(self, state, action):
        out = super().step(state, action)
        touched = jnp.arange(len(out.reward)) < 0
        moved = jnp.where(jnp.arange(len(out.reward)) >= self.sighted, 0.0, 1.0)
        depth = jnp.sqrt(moved * jnp.sum(out.state**2, -1))
        return Step(out.state, out.observation, out.reward - jnp.where(touched, depth, 0.0), out[3])


def metrics_of(algorithm, batch):
    """Metrics of the second update of a training, where the first 1 of 4 environments, and where
    all of them have a right derivative; `batch` makes the environments of a task. One program."""

    @jax.jit
    def two_updates(key, sighted):
        env = batch(Blind(sighted))
        start = algorithm.init(key, env)
        metrics = jax.lax.scan(lambda state, _: algorithm.update(state, env), start, None, 2)[1]
        return jax.tree.map(lambda x: x[1], metrics)

    return [two_updates(jax.random.key(0), sighted) for sighted in (1, 4)]


DIFFERENTIATED = [name for name in METHODS if METHODS[name].needs_gradient]


def quick(name):
    """SAPO and the soft flow compile for ten seconds each, and go the way of SHAC."""
    alike = name in ("sapo", "soft_flow")
    return pytest.param(name, marks=pytest.mark.long) if alike else name


@pytest.mark.parametrize("name", list(map(quick, DIFFERENTIATED)))
def test_dropped_gradients_are_a_metric_of_each_update(name):
    """Three of four environments lose all of theirs; what is left still trains. Right ones stay."""
    one, all_four = metrics_of(METHODS[name], lambda task: Batch(task, 4))
    assert np.isfinite(one["grad_norm"]) and one["grad_norm"] > 0
    for metrics, share in ((one, 0.75), (all_four, 0.0)):
        dropped = {key: float(x) for key, x in metrics.items() if key.startswith(DROPPED)}
        names = (DROPPED, f"{DROPPED_IN}action", f"{DROPPED_IN}state")
        assert dropped == dict.fromkeys(names, share)


@pytest.mark.parametrize("name", sorted(METHODS.keys() - DIFFERENTIATED))
def test_a_method_that_does_not_differentiate_has_no_such_metric(name):
    """Computes shapes only."""
    algorithm, env = METHODS[name], Batch(LQR(), 4)
    start = jax.eval_shape(lambda key: algorithm.init(key, env), jax.random.key(0))
    metrics = jax.eval_shape(lambda state: algorithm.update(state, env), start)[1]
    assert "grad_norm" in metrics and not [key for key in metrics if key.startswith(DROPPED)]


@pytest.mark.long
def test_dropped_gradients_are_counted_through_chunks():
    """In a training; tests/envs/test_chunk.py counts those of one chunk."""
    one, all_four = metrics_of(METHODS["apg"], lambda task: ChunkedBatch(task, 4, 4, discount=0.99))
    assert (float(one[DROPPED]), float(all_four[DROPPED])) == (0.75, 0.0)
