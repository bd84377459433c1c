"""Run folders with random weights: whole, and made without compiling a training."""

import jax
import jax.numpy as jnp
import numpy as np

import rfo
from rfo.experiment import build
from rfo.experiment import folder as folders
from rfo.training import checkpoint, trainer

NETWORKS = {"network.hidden": (8,), "network.point_hidden": (8,), "environments": 4}


def untrained(path, task, method="rfo", **settings):
    """A run whose only checkpoint holds random weights and statistics of observations."""
    experiment = rfo.preset(task, method, **NETWORKS, **settings)
    (folder,) = folders.create([experiment], [path])
    try:
        state = random_state(trainer.state_shapes(*build.build(experiment)))
        progress = {"update": 1, "env_steps": 64, "seconds": 0.0, "window": []}
        checkpoint.save(folder.inside("checkpoints") / checkpoint.FINAL, state, progress)
    finally:
        folder.unlock()
    return rfo.load(path)


def random_state(shapes):
    """A training state of these shapes, drawn from a normal distribution."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.zeros(leaf.shape, leaf.dtype)
        return jnp.asarray(0.3 * rng.standard_normal(leaf.shape), leaf.dtype)

    state = jax.tree.map(draw, shapes)
    variance = jax.tree.map(lambda x: 0.5 + jnp.abs(x), state.normalizer.variance)
    return state._replace(normalizer=state.normalizer._replace(variance=variance))
