"""Gradients of Brax's ant with the spring pipeline, in float64.

measure.py runs this program with an interpreter that has brax. As in `rfo bench speed`, it uses
Brax's own ant and 4 substeps of 1/240 s per control step. It writes an .npz file with the arrays of
`Sample` in measure.py.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from brax.envs.ant import Ant
from brax.spring import pipeline

jax.config.update("jax_enable_x64", True)
SUBSTEPS = 4


def main(
    path: str, actions: np.ndarray, directions: np.ndarray, sizes: np.ndarray, horizons: np.ndarray
):
    """Measure at actions (T, B, A) along directions (D, T, B, A), and write the arrays to
    `path`."""
    system = Ant(backend="spring").sys.tree_replace({"opt.timestep": 1 / 60 / SUBSTEPS})
    steps, batch, _ = actions.shape
    keys = jax.random.split(jax.random.key(0))
    q = system.init_q + jax.random.uniform(
        keys[0], (batch, system.q_size()), minval=-0.1, maxval=0.1
    )
    qd = 0.1 * jax.random.normal(keys[1], (batch, system.qd_size()))
    start = jax.vmap(lambda q, qd: pipeline.init(system, q, qd))(q, qd)

    def rewards(actions, start):
        def step(state, action):
            state, _ = jax.lax.scan(
                lambda s, _: (pipeline.step(system, s, action), None), state, length=SUBSTEPS
            )
            return state, state.xd.vel[0, 0] + state.x.pos[0, 2]

        return jax.lax.scan(step, start, actions)[1]

    forward = jax.jit(jax.vmap(rewards, in_axes=(1, 0), out_axes=1))
    gradient = jax.jit(
        jax.vmap(jax.grad(lambda a, s, w: w @ rewards(a, s)), in_axes=(1, 0, None), out_axes=1)
    )
    gradients = [np.asarray(gradient(actions, start, jnp.arange(steps) < h)) for h in horizons]

    def returns(moved):
        return np.cumsum(forward(moved, start), axis=0)[horizons - 1]

    numeric = [
        [(returns(actions + e * d) - returns(actions - e * d)) / (2 * e) for e in sizes]
        for d in directions
    ]
    np.savez(
        path,
        analytic=np.einsum("htba,dtba->dhb", np.stack(gradients), directions),
        numeric=np.asarray(numeric),
        norm_by_step=np.linalg.norm(gradients[-1], axis=2),
    )


if __name__ == "__main__":
    with np.load(sys.argv[1]) as given:
        main(sys.argv[1], given["actions"], given["directions"], given["sizes"], given["horizons"])
