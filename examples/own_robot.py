"""Train your own robot: its MJCF file becomes a task, and RFO teaches it to run.

    python examples/own_robot.py

rfo reads bodies, joints (free, ball, slide, hinge), motors, planes, spheres, capsules and boxes. It
refuses anything else and says what it is. The reward is any JAX function of the state after a step
and the action.
"""

from pathlib import Path

import jax
import jax.numpy as jnp

import rfo

DOG = Path(__file__).parent / "dog.xml"


def forward(state, action):
    """Speed of the body along x [m/s], less a tenth of the mean squared action; (B,)."""
    return state.qd[:, 0] - 0.1 * jnp.mean(action**2, axis=-1)


def main(file=DOG, updates=400):
    env = rfo.Batch(rfo.Robot(file, reward=forward, episode_length=300), 32)
    algorithm = rfo.RFO(
        schedule=rfo.Schedule(updates),
        network=rfo.Network(hidden=(64, 64)),
        critic=rfo.Critic(hidden=(64, 64)),
    )
    state = algorithm.init(jax.random.key(0), env)
    update = jax.jit(lambda state: algorithm.update(state, env))

    def metres():
        policy = algorithm.policy(state)
        mean_return = rfo.evaluate(policy, env, episodes=64, deterministic=True)["mean"]
        return mean_return * env.spec.dt

    before = metres()
    for _ in range(updates):
        state, _ = update(state)
    after = metres()
    print(f"{before:.2f} m in 5 s before training, {after:.2f} m after {updates} updates")
    return before, after


if __name__ == "__main__":
    main()
