"""No program calls LAPACK for a batch of matrices, which can hang on two CPUs.

jaxlib splits a batch among the CPU's threads and waits for them, from one of these threads. Two
such calls side by side on two CPUs leave no thread that could work. The programs are lowered,
never compiled.
"""

import re

import jax
import jax.numpy as jnp
import pytest

from rfo.envs.batch import Batch
from rfo.experiment.build import build_task
from rfo.experiment.catalogue import find_method
from rfo.experiment.presets import METHODS as REGISTERED
from rfo.experiment.record import preset

CALL = re.compile(r"custom_call @(?:lapack|cusolver|cublas)[^\n]*")
BATCHED = re.compile(r'num_batch_dims = "[1-9]')
METHODS = {find_method(name).load(): name for name in reversed(REGISTERED)}
"""One name for each class; its variants differ only in numbers."""
KINDS = (
    "cartpole",
    "hand_reorient",
    "pendulum",
    "soft_jumper_small",
    "soft_jumper_small_camera",
    "rolling_flat_small",
    "fluid_move_small",
    "hand_flip_small",
)
"""One task for each kind of physics and of observation."""


def lapack_calls(function, *arguments):
    """All LAPACK calls of a program that maps `function` over two seeds."""
    mapped = jax.tree.map(lambda x: jax.ShapeDtypeStruct((2, *x.shape), x.dtype), arguments)
    return CALL.findall(jax.jit(jax.vmap(function)).lower(*mapped).as_text())


def any_batched(calls):
    return any(BATCHED.search(call) for call in calls)


KEY = jax.eval_shape(lambda: jax.random.key(0))


@pytest.mark.parametrize("name", METHODS.values())
def test_no_method_makes_batched_calls(name):
    """Initialises several seeds in one program, on a task with a point cloud (most networks)."""
    algorithm, env = preset("reach_cloud", name).algorithm, Batch(build_task("reach_cloud"), 2)
    calls = lapack_calls(lambda key: algorithm.update(algorithm.init(key, env), env), KEY)
    assert calls, "networks start from QR decompositions"
    assert not any_batched(calls)


@pytest.mark.parametrize("name", KINDS)
def test_no_task_makes_batched_calls(name):
    """Covers reset, step and the gradient of the reward with respect to the action."""
    env = Batch(build_task(name, threads=1), 2)

    def reward_slope(key):
        state = env.staggered(key)
        return jax.grad(lambda action: env.step(state, action).reward.sum())(
            jnp.zeros((2, env.spec.action_size))
        )

    assert not any_batched(lapack_calls(reward_slope, KEY))


def test_a_batched_call_would_be_found():
    assert any_batched(lapack_calls(jnp.linalg.qr, jax.ShapeDtypeStruct((4, 4), jnp.float32)))
