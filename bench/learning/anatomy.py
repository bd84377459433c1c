"""Properties of trained policies, as JSON: spread and modes of their actions, and their gradients.

    python bench/learning/anatomy.py runs/soft_jumper_small --out anatomy.json

For every finished run below the folder, it loads the last checkpoint, takes SETTLING control steps
of the stochastic policy from a reset, and measures in the states that it reached:

- `spread`: standard deviation of the actions over the noise, mean over states and dimensions;
- `saturated`: share of actions beyond 0.95;
- `modes`: number of peaks of the density over the noise of each dimension's latent (before tanh),
  mean over states and dimensions; a Gaussian has 1;
- `gradient`: median and 90 % quantile over the environments of a norm for each step of the flow. It
  is the norm of the gradient of one rollout's return (the actor's objective divided by the horizon)
  with respect to a shift of the latent after that step. A Gaussian has only one latent. Equal
  medians mean that the flow neither shrinks nor amplifies the gradient that it gets from the
  physics.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.signal import find_peaks
from scipy.stats import gaussian_kde

from rfo.algos.returns import segment_return
from rfo.algos.rollout import SATURATION, decisions, rollout
from rfo.envs.batch import Batch
from rfo.experiment import build as experiments
from rfo.experiment.folder import load_state, open_run
from rfo.policies.flow import FlowPolicy
from rfo.types import Array, Observation

SETTLING = 64
STATES, DRAWS, DIMENSIONS = 16, 256, 8
"""Number of states, of actions in each, and of evenly spaced dimensions used to count modes."""
PROMINENCE = 0.1
"""Least prominence of a peak, as a fraction of the highest peak."""


def shifted(actor: Any, observation: Observation, noise: Array, shifts: Array) -> Array:
    """Action (B, A) with `shifts` (K, B, A) added to the latent after each step of the flow."""
    if not isinstance(actor, FlowPolicy):
        return jnp.tanh(actor(observation, noise)[1] + shifts[0])
    context, z = actor.context(observation), actor.source_noise * noise
    for k in range(actor.steps):
        z = z + actor.velocity(context, z, k / actor.steps) / actor.steps + shifts[k]
    return jnp.tanh(z)


def gradient_norms(algorithm: Any, state: Any, env: Batch, start: Any, key: Array) -> Array:
    """Norms (K, B) of the gradient of one rollout's return with respect to the latents after each
    step of the flow, over all decisions."""
    steps = state.actor.steps if isinstance(state.actor, FlowPolicy) else 1
    shape = (decisions(algorithm.horizon, env), env.size, env.spec.action_size)
    noise = jax.random.normal(key, shape)

    def objective(shifts: Array) -> Array:
        def act(observation: Observation, given: tuple[Array, Array]) -> tuple[Array, None]:
            return shifted(state.actor, state.normalizer(observation), *given), None

        _, data = rollout(env, start, act, (noise, shifts))
        value = jnp.zeros_like(data.reward)
        if hasattr(state, "critics"):
            value = state.critics(state.normalizer(data.next_observation)).mean(0)
        ends = data.terminated, data.truncated
        return segment_return(data.reward, value, *ends, algorithm.gamma, data.duration).sum()

    gradient = jax.grad(objective)(jnp.zeros((shape[0], steps, *shape[1:]))) / algorithm.horizon
    return jnp.sqrt(jnp.sum(gradient**2, axis=(0, 3)))


def modes(latents: np.ndarray) -> float:
    """Mean number of peaks in the densities of `latents` (draws, states, dimensions)."""
    counts = []
    for column in latents.reshape(len(latents), -1).T:
        grid = np.linspace(column.min(), column.max(), 200)
        density = np.concatenate([[0], gaussian_kde(column)(grid), [0]])
        counts.append(len(find_peaks(density, prominence=PROMINENCE * density.max())[0]))
    return float(np.mean(counts))


def anatomy(path: Path) -> dict[str, Any]:
    """The properties of one run's policy."""
    folder, experiment = open_run(path, threads=1)
    state, _ = load_state(folder, experiment)
    algorithm, env = experiments.build(experiment)
    policy = algorithm.policy(state)

    @jax.jit
    def look(key: Array):
        reset_key, *keys = jax.random.split(key, SETTLING + 3)
        settle = lambda s, k: (env.step(s, policy(s.observation, k)).state, None)  # noqa: E731
        start, _ = jax.lax.scan(settle, env.init(reset_key), jnp.stack(keys[:SETTLING]))
        norms = gradient_norms(algorithm, state, env, start, keys[-1])
        seen = jax.tree.map(lambda x: x[:STATES], start.observation)
        draw = lambda noise: state.actor(state.normalizer(seen), noise)  # noqa: E731
        count = len(jax.tree.leaves(seen)[0])
        shape = (DRAWS, count, env.spec.action_size)
        return *jax.vmap(draw)(jax.random.normal(keys[-2], shape)), norms

    actions, latents, norms = map(np.asarray, look(jax.random.key(0)))
    chosen = np.linspace(0, latents.shape[-1] - 1, min(DIMENSIONS, latents.shape[-1])).astype(int)
    return {
        "spread": round(float(actions.std(axis=0, ddof=1).mean()), 4),
        "saturated": round(float((np.abs(actions) > SATURATION).mean()), 3),
        "modes": round(modes(latents[..., chosen]), 2),
        "gradient": {
            name: [float(f"{x:.3g}") for x in np.quantile(norms, q, axis=1)]
            for name, q in (("median", 0.5), ("p90", 0.9))
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = {}
    for path in sorted(options.runs.rglob("checkpoints/final.ckpt")):
        name = path.parents[1].relative_to(options.runs).as_posix()
        found[name] = anatomy(path.parents[1])
        print(name, found[name], flush=True)
    lines = ",\n".join(
        f" {json.dumps(name)}: {json.dumps(values)}" for name, values in found.items()
    )
    options.out.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
