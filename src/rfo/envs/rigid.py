"""What the tasks of a rigid robot share: its model's file, random starts, and how it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jax
import jax.numpy as jnp

from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.kinematics import link_poses
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Model
from rfo.types import Array, PRNGKey


class RigidTask:
    """Base of the tasks of a robot: it draws the links.

    States are those of the simulator, or hold one as `physics`.
    """

    simulator: Articulated

    def scene(self) -> dict[str, Any]:
        """Geoms to draw, as `rfo.envs.base.Renderable.scene` describes."""
        return {"geoms": list(self.simulator.model.geoms)}

    def frame(self, state: Any) -> dict[str, Array]:
        """Poses to draw, as `rfo.envs.base.Renderable.frame` describes."""
        physics = getattr(state, "physics", state)
        return {"poses": link_poses(self.simulator.model, physics.q)}


@cache
def asset(
    name: str,
    contact: ContactParameters | None = None,
    limit_ke: float | None = None,
    limit_kd: float | None = None,
    *,
    substep: float | None = None,
) -> Model:
    """The model of a file in ``assets``, read once, see `rfo.physics.mjcf.load`."""
    text = files("rfo.envs").joinpath(f"assets/{name}.xml").read_text()
    return load(text, contact, limit_ke, limit_kd, substep=substep)


def start_near(
    key: PRNGKey, batch: int, pose: Sequence[float], position_noise: float, velocity_noise: float
) -> ArticulatedState:
    """Random states near a pose at rest; all noise is uniform, up to these amplitudes.

    Args:
        key: random key, used once.
        batch: number of environments B.
        pose: mean coordinates, of slides and hinges alone [m, rad].
        position_noise: largest deviation of a coordinate [m, rad].
        velocity_noise: largest velocity [m/s, rad/s].
    """
    noise = jax.random.uniform(key, (batch, 2 * len(pose)), minval=-1.0, maxval=1.0)
    position, velocity = jnp.split(noise, 2, axis=-1)
    return ArticulatedState(jnp.array(pose) + position_noise * position, velocity_noise * velocity)
