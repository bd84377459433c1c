"""Train your own robot: its MJCF file becomes a task, and RFO teaches it to run.

    python examples/own_robot.py

What rfo cannot read of a file it refuses by name. The reward is any JAX function of a moment of the
robot, its state after a step and the action, and may use the terms of `rfo.envs.rewards`.
"""

from pathlib import Path

import jax

import rfo

DOG = Path(__file__).parent / "dog.xml"


def forward(now):
    """Speed of the body along x [m/s], less a tenth of the mean squared action, in each robot."""
    return now.qd[:, 0] - 0.1 * (now.action**2).mean(-1)


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
