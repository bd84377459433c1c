"""No program calls LAPACK for a batch of matrices, which can hang on two CPUs.

jaxlib splits a batch among the CPU's threads and waits for them, from one of these threads. Two
such calls side by side on two CPUs leave no thread that could work. The programs are lowered,
never compiled.
"""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import rfo
from rfo.envs.batch import Batch
from rfo.experiment.build import build_task
from rfo.experiment.catalogue import find_method
from rfo.experiment.presets import METHODS as REGISTERED
from rfo.experiment.record import preset
from tuned import tuned

CALL = re.compile(r"custom_call @(?:lapack|cusolver|cublas)[^\n]*")
ALGEBRA = re.compile(r"linalg|scipy|initializers")
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


def clouded(name):
    """A method and a task with a point cloud, which has most networks."""
    return preset("reach_cloud", name).algorithm, Batch(build_task("reach_cloud"), 2)


@pytest.mark.parametrize("name", METHODS.values())
def test_no_method_starts_with_batched_calls(name):
    """Initialises several seeds in one program."""
    algorithm, env = clouded(name)
    calls = lapack_calls(lambda key: algorithm.init(key, env), KEY)
    assert calls, "networks start from QR decompositions"
    assert not any_batched(calls)


def test_an_update_makes_none():
    """One step of the flow, as the others repeat it."""
    algorithm, env = clouded("rfo")
    algorithm = tuned(algorithm, flow={"steps": 1})
    state = jax.eval_shape(lambda key: algorithm.init(key, env), KEY)
    assert not lapack_calls(lambda state: algorithm.update(state, env), state)


@pytest.mark.parametrize("room", ["algos", "policies"])
def test_no_other_update_can(room):
    """Linear algebra is used where networks start, and nowhere else."""
    files = Path(rfo.__file__).parent.joinpath(room).rglob("*.py")
    users = [path.name for path in files if ALGEBRA.search(path.read_text(encoding="utf-8"))]
    assert users == ["nets.py"] * (room == "policies")


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
