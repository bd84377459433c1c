"""Small tasks and training set-ups for the tests of the training room."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfo.algos.apg import APG
from rfo.algos.settings import Network, Schedule
from rfo.envs.base import EnvSpec, Step
from rfo.envs.batch import Batch
from rfo.training import trainer
from rfo.training.record import RunFolder
from tuned import tuned


class Life(NamedTuple):
    """Steps left, and how many there were."""

    left: jax.Array
    total: jax.Array


class Lives:
    """Each episode lasts 1 or 20 steps with equal odds and pays 1 + action per step."""

    spec = EnvSpec("lives", observation=1, action_size=1, episode_length=30, dt=0.5)

    def reset(self, key, batch):
        total = jnp.where(jax.random.bernoulli(key, shape=(batch,)), 1, 20)
        return Life(total, total)

    def observe(self, state):
        return state.left[:, None] / 20.0

    def step(self, state, action):
        after = Life(state.left - 1, state.total)
        return Step(after, self.observe(after), 1.0 + action[:, 0], after.left == 0)

    def scene(self):
        place = {"body": 0, "pos": [0, 0, 0], "quat": [1, 0, 0, 0]}
        ball = {"type": "sphere", "size": [0.1], "rgba": [1, 0, 0, 1], **place}
        return {"geoms": [ball], "surface": {"triangles": [[0, 1, 2]]}}

    def frame(self, state):
        position = jnp.stack(
            [state.left * 1.0, state.total * 1.0, jnp.zeros(len(state.left))], axis=-1
        )
        turn = jnp.broadcast_to(jnp.array([1.0, 0.0, 0.0, 0.0]), (len(state.left), 4))
        poses = jnp.concatenate([position, turn], axis=-1)[:, None]
        return {"poses": poses, "vertices": state.left[:, None, None] * jnp.eye(3)}


@dataclass(frozen=True)
class Broken:
    """Pays NaN in the first `count` environments at every step."""

    count: int
    spec: ClassVar[EnvSpec] = EnvSpec(
        "broken", observation=1, action_size=1, episode_length=8, dt=1.0
    )

    def reset(self, key, batch):
        return jax.random.uniform(key, (batch, 1))

    def observe(self, state):
        return state

    def step(self, state, action):
        reward = -jnp.sum((action - state) ** 2, axis=-1)
        reward = jnp.where(jnp.arange(len(state)) < self.count, jnp.nan, reward)
        return Step(state, state, reward, jnp.zeros(len(state), bool))


@dataclass(frozen=True)
class Blind(Broken):
    """Pays what it should; the derivative is NaN everywhere, a root of 0 behind a `where`."""

    count: int = 0

    def step(self, state, action):
        out = super().step(state, action)
        depth = jnp.sqrt(jnp.sum((0 * (state + action)) ** 2, axis=-1))
        touched = jnp.zeros(len(state), bool)
        return out._replace(reward=out.reward - jnp.where(touched, depth, 0.0))


def small_apg(**changes) -> APG:
    return tuned(APG(horizon=4, network=Network(hidden=(8,)), schedule=Schedule(8)), **changes)


@cache
def batch(task, environments: int = 4) -> Batch:
    """The same batch for equal tasks, so that what was compiled for it is used again."""
    return Batch(task, environments)


def train(
    folder: Path,
    task,
    algorithm=None,
    seeds=(0,),
    updates: int = 8,
    environments: int = 4,
    checkpoint_every: int = 100,
    start: trainer.Start | None = None,
    make=RunFolder.create,
) -> tuple[trainer.Outcome, list[RunFolder]]:
    """Train in folders `folder`/s0, ...; `make` makes a run folder of its path and settings."""
    folders = [make(folder / f"s{seed}", {}) for seed in seeds]
    course = trainer.Course(updates, checkpoint_every)
    env = batch(task, environments)
    try:
        outcome = trainer.run(algorithm or small_apg(), env, folders, seeds, course, "test", start)
    finally:
        for run in folders:
            run.close()
    return outcome, folders


def leaves(tree) -> list[np.ndarray]:
    """All arrays of a state, random keys as integers."""
    found = []
    for leaf in jax.tree.leaves(tree):
        if hasattr(leaf, "dtype"):
            is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            found.append(np.asarray(jax.random.key_data(leaf) if is_key else leaf))
    return found
