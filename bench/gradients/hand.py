"""Effect of the hand's penalty forces on its gradient, and the reward for holding the cube.

    python bench/gradients/hand.py

Compares the recorded penalties, soft contact, and soft contact with soft joint limits. Prints for
each the norm of the gradient over 32 steps, per environment, and how well the gradient predicts the
change of the return when every action changes by +h or -h. The 256 starts are visited by random
actions in [-0.5, 0.5]. Then prints the recorded task's reward for the cube's orientation at the
start, and the returns for one constant torque in all joints.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from rfo.envs.base import open_loop
from rfo.envs.batch import Batch
from rfo.envs.tasks.hand_reorient import (
    ANGLE_EPS,
    RECORDED,
    SMOOTH,
    HandReorient,
    Penalties,
    angle,
    recorded_bonus,
)

ENVIRONMENTS = 64
DRAWS = 4
STEPS = 32
WALK = 16
"""Control steps of random actions before each start."""
SIZES = (1e-3, 1e-2, 1e-1)
LAWS = {
    "recorded": RECORDED,
    "soft contact": SMOOTH._replace(limit_kd=RECORDED.limit_kd),
    "smooth": SMOOTH,
}


def main() -> None:
    for name, law in LAWS.items():
        norms, predicted, actual = predictions(law)
        percentiles = ", ".join(f"{p:.3g}" for p in np.percentile(norms, (50, 90, 100)))
        print(f"{name}: norm median, 90 %, maximum {percentiles}")
        for size, changed in zip(SIZES, actual, strict=True):
            right = np.mean(np.sign(predicted) == np.sign(changed))
            rank = spearmanr(predicted, changed).statistic
            print(f"  h = {size}: sign right {right:.2f}, rank correlation {rank:.2f}")
    start = HandReorient("hand", recorded_bonus).reset(jax.random.key(0), 4096)
    print(f"orientation pays at reset: {jnp.mean(1 / (angle(start) + ANGLE_EPS)):.2f} a step")
    for torque in (0.0, 0.05, 0.1, 0.2):
        returns, lengths = constant(torque)
        print(f"torque {torque}: return {returns.mean():.0f}, {lengths.mean():.0f} steps")


def predictions(law: Penalties) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradient norms (N,), predicted changes of the return per h (N,), actual ones (len(SIZES),
    N)."""
    env = HandReorient("hand", recorded_bonus, law)
    batch = Batch(env, ENVIRONMENTS)
    walk = jax.jit(lambda s, a: jax.lax.scan(lambda s, a: (batch.step(s, a).state, None), s, a)[0])
    result = jax.jit(lambda s, a: open_loop(env, s, a)[1].sum(0))
    gradient = jax.jit(jax.grad(lambda a, s: open_loop(env, s, a)[1].sum()))
    state, rows = batch.init(jax.random.key(0)), []
    for key in jax.random.split(jax.random.key(1), DRAWS):
        walk_key, action_key, turn_key = jax.random.split(key, 3)
        state = walk(state, draw(walk_key, WALK))
        actions = draw(action_key, STEPS)
        turn = jax.random.rademacher(turn_key, actions.shape, float)
        slope = gradient(actions, state.task)
        before = result(state.task, actions)
        changes = [result(state.task, actions + size * turn) - before for size in SIZES]
        norm = jnp.sqrt((slope**2).sum((0, 2)))
        rows.append(jnp.stack([norm, (slope * turn).sum((0, 2)), *changes]))
    norms, predicted, *actual = np.concatenate(rows, axis=1)
    return norms, predicted, np.stack(actual)


def constant(torque: float) -> tuple[np.ndarray, np.ndarray]:
    """Return and length (B,) of each environment's first episode in the recorded task."""
    env = HandReorient("hand", recorded_bonus)
    batch = Batch(env, ENVIRONMENTS)

    def step(state, _):
        after = batch.step(state, jnp.full((ENVIRONMENTS, env.spec.action_size), torque))
        return after.state, (after.done, after.episode_return, after.episode_length)

    roll = jax.jit(lambda s: jax.lax.scan(step, s, None, length=env.spec.episode_length)[1])
    done, returns, lengths = map(np.asarray, roll(batch.init(jax.random.key(0))))
    first = done.argmax(0), np.arange(ENVIRONMENTS)
    return returns[first], lengths[first]


def draw(key: jax.Array, steps: int) -> jax.Array:
    """Random actions (steps, B, 16)."""
    return jax.random.uniform(key, (steps, ENVIRONMENTS, 16), minval=-0.5, maxval=0.5)


if __name__ == "__main__":
    main()
