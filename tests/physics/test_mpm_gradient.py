"""Gradients of the particle simulator in state and tool poses, against central differences.

No particle starts on a plane of nodes, where distance and friction have kinks.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.physics.materials import Corotated, Fluid, NeoHookean, Plasticine, respond
from rfo.physics.mpm import MPM, Contact, Grid, MPMState, Tool

SUBSTEPS, STEPS, ENVS, N = 8, 10, 2, 150
LYING = (0.5**0.5, 0.0, 0.5**0.5, 0.0)
TOOLS = (
    Tool("capsule", (0.03, 0.1), 0, (0.0, 0.0, 0.02), LYING),
    Tool("box", (0.02, 0.1, 0.1), 0, (-0.1, 0.0, 0.0)),
    Tool("sphere", (0.05,), 1, (0.01, 0.0, 0.0)),
    Tool("half-space", (), -1, (0.5, 0.65, 0.5), (0.8, 0.6, 0.0, 0.0)),
)
MATERIALS = {
    "plasticine": Plasticine(5e3, 0.2, 1.0, 50.0),
    "fluid": Fluid(1e4, 0.3, 1e3),
    "neo-Hookean": NeoHookean(5e3, 0.2, 1.0),
    "corotated": Corotated(5e3, 0.2, 1.0),
}


@pytest.fixture(autouse=True)
def double_precision():
    """Set x64 for the whole process; `jax.enable_x64` would not reach the threads of callbacks."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def simulator(name, dtype=np.float64, fading=True):
    return MPM(
        MATERIALS[name],
        N,
        0.2 * 0.2 * 0.1 / N,
        Grid((20, 20, 20), 0.05),
        SUBSTEPS * 1e-4,
        SUBSTEPS,
        tools=TOOLS,
        contact=Contact(0.4, 300.0, fading, 0.5),
        gravity=30.0,
        threads=1,
        dtype=dtype,
    )


def paths(motion, dtype=np.float64):
    """Poses (T, B, S+1, 2, 7) of two bodies that move and rotate by (T, B, 2, 6)."""
    motion = jnp.asarray(motion, dtype)
    ends = jnp.cumsum(motion, axis=0)
    share = (jnp.arange(SUBSTEPS + 1, dtype=dtype) / SUBSTEPS)[:, None, None]
    along = (ends - motion)[:, :, None] + share * motion[:, :, None]
    first = jnp.array([[0.5037, 0.4971, 0.2613], [0.4529, 0.4213, 0.1717]], dtype)
    turn = 0.1 * along[..., 3:]
    quat = jnp.concatenate([jnp.ones_like(turn[..., :1]), turn], axis=-1)
    quat = quat / jnp.linalg.norm(quat, axis=-1, keepdims=True)
    return jnp.concatenate([first + 0.003 * along[..., :3], quat], axis=-1)


def start(sim, at_rest):
    rng = np.random.default_rng(1)
    x = rng.uniform([0.4, 0.4, 0.12], [0.6, 0.6, 0.22], (ENVS, N, 3))
    state = sim.init(x)
    if at_rest:  # F = I, v = 0
        return state
    return state._replace(
        v=0.5 * rng.normal(size=x.shape) - np.array([0, 0, 1.0]),
        C=rng.normal(size=(*x.shape, 3)),
        F=state.F + 0.02 * rng.normal(size=(*x.shape, 3)),
    )


MOTION = np.random.default_rng(2).uniform(-1, 1, (STEPS, ENVS, 2, 6)) - [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    "case", [*MATERIALS, "plasticine at rest", "fluid at rest", "fluid with jumps"]
)
def test_gradient_against_central_differences(case):
    """Gradient of a random combination of the final state after ten control steps, with contact
    with every shape and the ground, and with yield."""
    name = case.split(" ")[0]
    sim = simulator(name, fading="jumps" not in case)
    state = start(sim, "at rest" in case)
    rng = np.random.default_rng(3)
    weights = [
        k * rng.normal(size=a.shape) for k, a in zip((1.0, 0.01, 1e-4, 0.1), state, strict=True)
    ]

    @jax.jit
    def value(inputs):
        *state, motion = inputs
        after, _ = jax.lax.scan(
            lambda s, p: (sim.step(s, p), None), MPMState(*state), paths(motion)
        )
        return sum(jnp.sum(a * w) for a, w in zip(after, weights, strict=True))

    inputs = (*state, jnp.asarray(MOTION))
    gradient = jax.jit(jax.grad(value))(inputs)
    for part in range(5):
        exact = np.asarray(gradient[part])
        size = np.linalg.norm(exact)
        assert size > 1e-6
        direction = rng.normal(size=exact.shape) + exact / size * exact.size**0.5
        predicted = np.sum(exact * direction)
        errors = []
        for h in (3e-7, 1e-7, 3e-8):
            ends = [
                float(value((*inputs[:part], inputs[part] + e * direction, *inputs[part + 1 :])))
                for e in (h, -h)
            ]
            errors.append(abs((ends[0] - ends[1]) / (2 * h) - predicted) / abs(predicted))
        assert np.median(errors) < 5e-5, (part, errors)


def test_the_case_is_worth_it():
    """Tools and ground change the motion, and most of the plasticine yields."""
    sim = simulator("plasticine")
    state, moved = start(sim, False), paths(MOTION)
    free = MPM(
        sim.material, N, sim.volume, Grid((20, 20, 20), 0.05), SUBSTEPS * 1e-4, SUBSTEPS,
        gravity=30.0,
        threads=1, dtype=np.float64,
    )  # fmt: skip
    touched, alone = state, state
    for path in moved:
        touched, alone = sim.step(touched, path), free.step(alone)
    assert (np.abs(touched.v - alone.v).max(-1) > 0.1).mean() > 0.5
    elastic = respond(sim.material, touched.F).elastic
    assert (np.abs(elastic - touched.F).max((-1, -2)) > 1e-6).mean() > 0.2
    assert np.asarray(touched.x[..., 2]).min() < 0.15


def test_each_shape_turns_the_gradient_back_to_its_pose():
    """Gradient in every single number of all poses of one control step, also of the quaternions."""
    sim = simulator("plasticine")
    state, path = start(sim, False), paths(MOTION)[0]
    weights = np.random.default_rng(4).normal(size=state.v.shape)

    @jax.jit
    def value(path):
        return jnp.sum(sim.step(state, path).v * weights)

    gradient = np.asarray(jax.grad(value)(path))
    for index in [
        (0, 0, 0, 2),
        (0, 3, 0, 3),
        (1, 4, 0, 5),
        (0, 8, 0, 4),
        (1, 5, 1, 1),
        (0, 5, 1, 6),
    ]:
        e = np.zeros(path.shape)
        e[index] = 1e-7
        difference = float(value(path + e) - value(path - e)) / 2e-7
        assert abs(difference) > 1e-3
        assert gradient[index] == pytest.approx(difference, rel=1e-5)


@pytest.mark.parametrize("name", ["plasticine", "fluid"])
def test_single_precision_gradient_is_the_double_one(name):
    def gradient(dtype):
        sim = simulator(name, dtype)
        state = jax.tree.map(lambda a: jnp.asarray(a, dtype), start(sim, True))

        def value(motion):
            after, _ = jax.lax.scan(
                lambda s, p: (sim.step(s, p), None), state, paths(motion, dtype)
            )
            return jnp.sum(jnp.sin(20 * after.x)) + 0.01 * jnp.sum(after.v**2)

        return np.asarray(jax.jit(jax.grad(value))(jnp.asarray(MOTION, dtype)), float)

    double, single = gradient(np.float64), gradient(np.float32)
    assert np.linalg.norm(single - double) < 0.01 * np.linalg.norm(double)


def test_vmap_equals_the_whole_batch():
    """A map over environments gives the same gradient as their batch, even without a tape."""
    sim = simulator("plasticine")
    state, path = start(sim, False), paths(MOTION)[0]
    weights = np.random.default_rng(5).normal(size=state.v.shape)

    def gradient(state, path, weights):
        return jax.grad(lambda s: jnp.sum(sim.step(s, path).v * weights))(state)

    batch = gradient(state, path, weights)
    split = jax.tree.map(lambda x: x[:, None], (state, path, weights))
    mapped = jax.tree.map(lambda x: x[:, 0], jax.vmap(gradient)(*split))
    for ours, theirs in zip(mapped, batch, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
