"""Soft walkers: soft bodies driven by muscles move along x.

`soft_jumper` is Rewarped's SoftJumper (its ``jumper`` with the body "table"), rebuilt from its
constants. Its body is a table whose 204 vertices all lie on the surface. `table` builds an
equivalent mesh with the same number of vertices, tetrahedra (444) and controls (222).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.base import EnvSpec, Step
from rfo.envs.camera import DepthCamera
from rfo.physics.mesh import TetMesh, from_boxes, from_voxels, split
from rfo.physics.tetrahedra import SoftMaterial, Tetrahedra, TetrahedraState
from rfo.physics.tetrahedra_parameters import TetrahedraParameters
from rfo.types import Array, Float, PRNGKey

DT = 1 / 60
"""Control step [s]."""
SUBSTEPS = 80
EPISODE_LENGTH = 300
"""Control steps."""
EDGE = 0.354428
"""Edge length of a cell [m]."""
START_HEIGHT = 0.2
"""Height of the lowest vertices above the ground at the start [m]."""
MUSCLE = 0.3
"""Muscle activation at full action."""
OBSERVED = 0.1
"""Factor on positions and velocities in the observation and in the reward."""
SPEED_WEIGHT = 10.0
HEIGHT_WEIGHT = 30.0
ACTION_WEIGHT = 0.001
SHIFT = np.array([0.8, 0.8])
"""Largest horizontal shift at a reset [m]."""
LIFT = 0.4
"""Largest shift upwards at a reset [m]."""
STRETCH = 0.1
"""Largest relative change of the body's size at a reset. This strains the body at the start."""


@cache
def table() -> TetMesh:
    """Mesh of a table: a slab of 7 x 7 x 2 cells on four legs of three cells, 110 cells in all.

    The slab consists of columns two cells high. Only the columns on its outer edge have vertices
    half-way up, so that no vertex lies inside. The mesh has 204 vertices and 444 tetrahedra of 1/6
    or 1/3 of a cell, the same numbers as in Rewarped.
    """
    legs = [((i, j, k), (i + 1, j + 1, k + 1)) for i in (0, 6) for j in (0, 6) for k in range(3)]
    columns = [((i, j, 3), (i + 1, j + 1, 5)) for i in range(7) for j in range(7)]
    sides = [(i, j, 4) for i in range(8) for j in range(8) if {i, j} & {0, 7}]
    return _placed(split(from_boxes(legs + columns, EDGE), EDGE * np.array(sides)))


@cache
def bench() -> TetMesh:
    """Mesh of a bench: a slab of 3 x 2 cells on two broad legs, 10 cells, 50 tetrahedra."""
    slab = [(i, j, 1) for i in range(3) for j in range(2)]
    return _placed(from_voxels(slab + [(i, j, 0) for i in (0, 2) for j in range(2)], EDGE))


@cache
def worm() -> TetMesh:
    """Mesh of a flat beam of 8 x 2 cells, 80 tetrahedra."""
    return _placed(from_voxels([(i, j, 0) for i in range(8) for j in range(2)], EDGE))


class SoftState(NamedTuple):
    """State between two control steps."""

    physics: TetrahedraState
    action: Float[Array, "B A"]
    """The last action, part of the observation; zero after a reset."""


@dataclass(frozen=True)
class JumperVersion:
    """Differences between the faithful and the corrected task.

    Rewarped scales a body about the world's origin at the start and observes its vertices in world
    coordinates. Its damping also acts on a pure translation
    (`rfo.physics.tetrahedra.SoftMaterial.drag`). So start, observation and motion depend on how far
    the body is from the origin. `CORRECTED` scales and observes the body about its own centre, and
    damps only deformation.
    """

    drag: float
    """See `rfo.physics.tetrahedra.SoftMaterial.drag`."""
    about_centre: bool
    """Whether the body is scaled and observed about its own centre."""


FAITHFUL = JumperVersion(drag=1.0, about_centre=False)
CORRECTED = JumperVersion(drag=0.0, about_centre=True)

AHEAD_AND_BESIDE = (-1.0, 1.0, -0.5)
"""Viewing direction that shows front, right side and top of a body that walks along x."""


class SoftJumper:
    """The policy drives the muscles of a soft body, which should move along x and stay high.

    **Action** (A): muscle activations, 0.3 times the action. Each action drives two tetrahedra that
    are neighbours in the mesh's order.

    **Observation**: ``particle_q`` (N, 3), positions of all vertices; ``com_q`` (3,) and ``com_qd``
    (3,), their mean position and velocity; ``actions`` (A,), the last action. Positions and
    velocities are multiplied by 0.1 [10 m, 10 m/s]. In the corrected version ``particle_q`` is
    relative to the point on the ground below the mean position. With a camera, ``points`` (P, 3)
    replaces ``particle_q``: the points of the surface that the camera sees, in no fixed order.

    **Reward**: ``10 (0.1 v_x) + 30 (0.1 (z - z_start)) - 0.001 |a|^2`` with the mean velocity v_x
    [m/s] and the mean height z [m], evaluated after the step. The episode never terminates; it is
    truncated after 300 steps of 1/60 s. A step has 80 substeps.

    Args:
        name: name of the task.
        body: mesh at rest, in its start position.
        version: `FAITHFUL` or `CORRECTED`.
        threads: CPU threads of the physics; by default as many as speed up the batch.
        camera: depth camera that observes the body; None to observe all vertices.
        dtype: precision of the physics, float32 or float64.
    """

    def __init__(
        self,
        name: str,
        body: TetMesh,
        version: JumperVersion = CORRECTED,
        threads: int | None = None,
        camera: DepthCamera | None = None,
        dtype: Any = np.float32,
    ):
        muscle = np.arange(len(body.tets)) // 2
        self.version = version
        self.camera = camera
        self.simulator = Tetrahedra(
            body,
            DT,
            SUBSTEPS,
            muscle=muscle,
            gain=MUSCLE,
            material=SoftMaterial(drag=version.drag),
            threads=threads,
            dtype=dtype,
        )
        size = self.simulator.controls
        self._start_height = float(body.vertices[:, 2].mean())
        self.spec = EnvSpec(
            name=name,
            observation={
                **(
                    {"points": (camera.points, 3)}
                    if camera
                    else {"particle_q": body.vertices.shape}
                ),
                "com_q": (3,),
                "com_qd": (3,),
                "actions": (size,),
            },
            action_size=size,
            episode_length=EPISODE_LENGTH,
            dt=DT,
        )

    def reset(self, key: PRNGKey, batch: int) -> SoftState:
        """Shift, raise and scale the body at random; it starts at rest."""
        shift_key, scale_key = jax.random.split(key)
        low, high = jnp.array([*-SHIFT, 0.0]), jnp.array([*SHIFT, LIFT])
        shift = jax.random.uniform(shift_key, (batch, 1, 3), minval=low, maxval=high)
        scale = 1 + STRETCH * jax.random.uniform(scale_key, (batch, 1, 1), minval=-1.0)
        rest = self.simulator.init(batch)
        if self.version.about_centre:
            middle = rest.q.mean(1, keepdims=True)
            q = middle + (rest.q - middle) * scale + shift
        else:
            q = (rest.q + shift) * scale
        physics = TetrahedraState(q.astype(rest.q.dtype), rest.qd)
        return SoftState(physics, jnp.zeros((batch, self.spec.action_size), rest.q.dtype))

    def observe(self, state: SoftState) -> dict[str, Array]:
        """Observation of a state; the class lists its entries."""
        q, qd = state.physics
        middle = q.mean(1)
        origin = middle * jnp.array([1.0, 1.0, 0.0]) if self.version.about_centre else jnp.zeros(3)
        if self.camera is None:
            name, cloud = "particle_q", q
        else:
            name, cloud = "points", self.camera.visible_points(q, self.simulator.mesh.surface)
        return {
            name: OBSERVED * (cloud - jnp.broadcast_to(origin, middle.shape)[:, None]),
            "com_q": OBSERVED * middle,
            "com_qd": OBSERVED * qd.mean(1),
            "actions": state.action,
        }

    def step(
        self,
        state: SoftState,
        action: Float[Array, "B A"],
        parameters: TetrahedraParameters | None = None,
    ) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1]."""
        action = jnp.clip(action, -1.0, 1.0)
        after = SoftState(self.simulator.step(state.physics, action, parameters), action)
        return Step(
            state=after,
            observation=self.observe(after),
            reward=self.reward(after),
            terminated=jnp.zeros(len(action), bool),
        )

    def reward(self, state: SoftState) -> Float[Array, " B"]:
        """Reward for arriving in a state; the class gives the formula."""
        q, qd = state.physics
        speed = OBSERVED * qd.mean(1)[:, 0]
        height = OBSERVED * (q.mean(1)[:, 2] - self._start_height)
        effort = jnp.sum(state.action**2, axis=-1)
        return SPEED_WEIGHT * speed + HEIGHT_WEIGHT * height - ACTION_WEIGHT * effort

    def scene(self) -> dict[str, Any]:
        """Ground and surface to draw, as `rfo.envs.base.Renderable.scene` describes."""
        ground = {"type": "plane", "size": [], "body": -1, "pos": [0, 0, 0], "quat": [1, 0, 0, 0]}
        return {
            "geoms": [ground | {"rgba": [0.8, 0.8, 0.8, 1]}],
            "surface": {"triangles": self.simulator.mesh.surface.tolist()},
        }

    def frame(self, state: SoftState) -> dict[str, Array]:
        """Vertices and muscle activations, as `rfo.envs.base.Renderable.frame` describes."""
        muscle = self.simulator.mesh.surface_tets // 2
        return {"vertices": state.physics.q, "activation": state.action[:, muscle]}


def _placed(mesh: TetMesh) -> TetMesh:
    """The mesh centred on the vertical axis, with its lowest vertices at `START_HEIGHT`."""
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    middle = (low + high) / 2
    return TetMesh(
        mesh.vertices + np.array([-middle[0], -middle[1], START_HEIGHT - low[2]]), mesh.tets
    )


def soft_jumper(threads: int | None = None, dtype: Any = np.float32) -> SoftJumper:
    """The task as Rewarped defines it."""
    return SoftJumper("soft_jumper", table(), FAITHFUL, threads, dtype=dtype)


def soft_jumper_corrected(threads: int | None = None, dtype: Any = np.float32) -> SoftJumper:
    """The same body with the corrections that `JumperVersion` lists."""
    return SoftJumper("soft_jumper_corrected", table(), CORRECTED, threads, dtype=dtype)


def soft_jumper_small(threads: int | None = None, dtype: Any = np.float32) -> SoftJumper:
    """A corrected task with a small body, which is learned in minutes."""
    return SoftJumper("soft_jumper_small", bench(), CORRECTED, threads, dtype=dtype)


def soft_worm(threads: int | None = None, dtype: Any = np.float32) -> SoftJumper:
    """A corrected task with a flat beam as its body."""
    return SoftJumper("soft_worm", worm(), CORRECTED, threads, dtype=dtype)


def soft_jumper_camera(threads: int | None = None, dtype: Any = np.float32) -> SoftJumper:
    """The corrected task, observed by a depth camera."""
    camera = DepthCamera(AHEAD_AND_BESIDE, window=4.0, pixels=16, points=96)
    return SoftJumper("soft_jumper_camera", table(), CORRECTED, threads, camera, dtype=dtype)


def soft_jumper_small_camera(threads: int | None = None, dtype: Any = np.float32) -> SoftJumper:
    """The small task, observed by a depth camera."""
    camera = DepthCamera(AHEAD_AND_BESIDE, window=1.5, pixels=12, points=64)
    return SoftJumper("soft_jumper_small_camera", bench(), CORRECTED, threads, camera, dtype=dtype)
