"""Clone a policy from demonstrations with two ways around a column, and train it on with RFO.

    python examples/demonstrations.py

The demonstrations are a program's here: half of its episodes pass on the left, half on the right,
in wide and slow curves. `rfo collect RUN` makes such a file from a trained policy.
"""

import jax
import jax.numpy as jnp
import numpy as np

import rfo


def demonstrations(episodes=128, seed=0):
    """Episodes of a program that picks a side by a coin, with some noise on its actions."""
    task = rfo.make("detour").task
    rng = np.random.default_rng(seed)
    corner = np.stack([np.zeros(episodes), 0.75 * rng.choice([-1, 1], episodes)], axis=-1)
    goal = np.array([1.0, 0.0])
    state = task.reset(jax.random.key(seed), episodes)
    seen, done, paid = [], [], []
    for _ in range(task.spec.episode_length):
        position = np.asarray(task.observe(state))
        way = np.where(position[:, :1] < -0.05, corner, goal) - position
        action = 0.8 * way / np.maximum(np.linalg.norm(way, axis=-1, keepdims=True), 0.1)
        action = np.clip(action + 0.1 * rng.normal(size=action.shape), -1, 1)
        step = task.step(state, jnp.asarray(action, jnp.float32))
        state = step.state
        seen.append(position), done.append(action), paid.append(step.reward)
    length = task.spec.episode_length
    return rfo.Demonstrations(
        observation=np.stack(seen, axis=1).reshape(-1, 2),  # one episode after the other
        action=np.stack(done, axis=1).reshape(-1, 2),
        start=np.arange(episodes * length) % length == 0,
        returns=np.sum(paid, axis=0),
        task="detour",
    )


def ways(run, episodes=256):
    """Mean return, and shares of episodes on the left, on the right and through the column."""
    demos = rfo.collect(run, episodes)
    seen = demos.observation.reshape(episodes, -1, 2)
    nearest = np.linalg.norm(seen, axis=-1)
    through = nearest.min(axis=1) < 0.35  # of a column of 0.4 m
    side = seen[np.arange(episodes), nearest.argmin(axis=1), 1]
    left, right = ~through & (side > 0), ~through & (side < 0)
    shares = {"left": left.mean(), "right": right.mean(), "through": through.mean()}
    return {"return": demos.returns.mean(), **shares}


def main(updates=2000, steps=102_400):
    demos = demonstrations()
    print(demos)
    settings = {"chunk": 8, "flow.steps": 8}  # one decision for a quarter of an episode
    clone = rfo.clone("detour", demos, updates=updates, **settings)
    tuned = rfo.train("detour", start=clone, steps=steps, **settings)
    for name, run in (("clone", clone), ("RFO", tuned)):
        print(name, {what: round(float(value), 2) for what, value in ways(run).items()})
    return clone, tuned


if __name__ == "__main__":
    main()
