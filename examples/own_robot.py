"""Train your own robot: its MJCF file becomes a task, and RFO teaches it to run.

    python examples/own_robot.py

rfo reads bodies, joints (free, ball, slide, hinge), motors, planes, spheres, capsules and boxes. It
refuses anything else and says what it is. The reward is any JAX function of the state after a step
and the action.
"""

from pathlib import Path

import jax

from rfo.algos.rfo import RFO
from rfo.algos.settings import Critic, Network, Schedule
from rfo.envs.batch import Batch
from rfo.envs.robot import Robot, forward
from rfo.training.evaluate import Evaluator

DOG = Path(__file__).parent / "dog.xml"


def main(file=DOG, updates=400):
    env = Batch(Robot(file, reward=forward, episode_length=300), 32)
    algorithm = RFO(
        schedule=Schedule(updates),
        network=Network(hidden=(64, 64)),
        critic=Critic(hidden=(64, 64)),
    )
    evaluate = Evaluator(env, deterministic=True)
    state = algorithm.init(jax.random.key(0), env)
    update = jax.jit(lambda state: algorithm.update(state, env))

    def metres():
        returns = evaluate(algorithm.policy(state), jax.random.key(1)).returns
        return float(returns.mean()) * env.task.spec.dt

    before = metres()
    for _ in range(updates):
        state, _ = update(state)
    after = metres()
    print(f"{before:.2f} m in 5 s before training, {after:.2f} m after {updates} updates")
    return before, after


if __name__ == "__main__":
    main()
