"""A task of my own: a point mass flies to a target and brakes there.

    rfo check-grad my_task.py:Reach             # is its gradient right?
    rfo train my_task.py:Reach --steps 200_000  # learn it
    rfo train my_task.py:Reach --task.gain 8    # with another setting

A task works on B environments at a time: every array has the leading axis B. Reward and next state
are JAX functions of state and action, which is all that the gradient needs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo import EnvSpec, Step


class ReachState(NamedTuple):
    """What one environment is about; any arrays with the leading axis B."""

    position: jax.Array  # (B, 3) [m]
    velocity: jax.Array  # (B, 3) [m/s]
    target: jax.Array  # (B, 3) [m]


class Reach:
    """Fly to the target. Action (3): acceleration. Reward per step: minus the distance [m].

    Args:
        gain: acceleration of a full action [m/s^2].
        effort: cost of a full action.
    """

    def __init__(self, gain: float = 4.0, effort: float = 0.01):
        self.gain = gain
        self.effort = effort
        self.spec = EnvSpec("reach", observation=6, action_size=3, episode_length=100, dt=0.05)

    def reset(self, key, batch):
        """New episodes: targets within a cube, the mass at rest in its middle."""
        target = jax.random.uniform(key, (batch, 3), minval=-1.0, maxval=1.0)
        return ReachState(jnp.zeros((batch, 3)), jnp.zeros((batch, 3)), target)

    def observe(self, state):
        """What the policy sees, (B, 6): the way to the target and the velocity."""
        return jnp.concatenate([state.target - state.position, state.velocity], axis=-1)

    def step(self, state, action):
        """One control step; actions (B, 3) are clipped to [-1, 1]."""
        action = jnp.clip(action, -1.0, 1.0)
        velocity = state.velocity + self.spec.dt * self.gain * action
        position = state.position + self.spec.dt * velocity
        state = ReachState(position, velocity, state.target)
        # the small number keeps the gradient finite at the target itself
        distance = jnp.sqrt(jnp.sum((state.target - position) ** 2, axis=-1) + 1e-4)
        reward = -distance - self.effort * jnp.mean(action**2, axis=-1)
        terminated = jnp.zeros(len(reward), bool)  # no state ends an episode early
        return Step(state, self.observe(state), reward, terminated)

    def scene(self):
        """What the replay draws: the mass (body 0), the target (body 1), and the ground."""
        return {
            "geoms": [
                geom("sphere", [0.05], body=0, rgba=[0.9, 0.4, 0.2, 1.0]),
                geom("sphere", [0.1], body=1, rgba=[0.2, 0.6, 0.9, 0.5]),
                geom("plane", [], body=-1, pos=[0.0, 0.0, -1.2], rgba=[0.5, 0.5, 0.5, 1.0]),
            ]
        }

    def frame(self, state):
        """Where they are: poses (B, 2, 7), position [m] and quaternion (w, x, y, z)."""
        upright = jnp.tile(jnp.array([1.0, 0.0, 0.0, 0.0]), (len(state.position), 1))
        places = (state.position, state.target)
        return {"poses": jnp.stack([jnp.concatenate([p, upright], -1) for p in places], axis=1)}


def geom(kind, size, body, rgba, pos=(0.0, 0.0, 0.0)):
    """A figure on a body, or on the world (-1); sizes are MuJoCo's."""
    upright = [1.0, 0.0, 0.0, 0.0]
    return {
        "type": kind,
        "size": size,
        "body": body,
        "pos": list(pos),
        "quat": upright,
        "rgba": rgba,
    }
