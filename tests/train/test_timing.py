"""The split of an update's time points at the slow part."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from toy import small_apg

from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import LQR, ReachCloud
from rfo.train import timing
from rfo.train.trainer import initial_state


@dataclass(frozen=True)
class SlowLQR(LQR):
    """LQR whose step does a lot of arithmetic for nothing."""

    def step(self, state, action):
        out = super().step(state, action)
        burden = jnp.eye(300) + action.mean()
        for _ in range(20):
            burden = burden @ burden / jnp.linalg.norm(burden)
        return out._replace(reward=out.reward + 1e-20 * burden.sum())


def test_a_dict_observation_is_timed_too():
    algorithm = small_apg(point_hidden=(4,), point_features=4, vector_features=4)
    env = Batch(ReachCloud(points=4), 4)
    speeds = timing.split(algorithm, env, initial_state(algorithm, env, [0]))
    assert speeds["policy_steps_per_second"] > 0


def test_the_slow_part_shows():
    algorithm = small_apg()
    env = Batch(SlowLQR(), 4)
    state = initial_state(algorithm, env, [0])
    speeds = timing.split(algorithm, env, state)
    assert set(speeds) == {
        f"{part}_steps_per_second" for part in ("update", "physics", "policy", "critic")
    }
    assert all(rate > 0 for rate in speeds.values())
    assert speeds["physics_steps_per_second"] < 0.2 * speeds["policy_steps_per_second"]
    assert speeds["update_steps_per_second"] < 2 * speeds["physics_steps_per_second"]
    assert jax.tree.leaves(state)  # not donated
