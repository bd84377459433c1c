"""The geoms of a compiled MJCF model as the replay draws them."""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco

from rfo.physics.mjcf.support import SHAPES
from rfo.physics.mjcf.tree import Frame


def drawn_geoms(m: mujoco.MjModel, frames: list[Frame]) -> tuple[dict, ...]:
    """See `rfo.envs.base.Renderable`."""
    geoms = []
    for geom in range(m.ngeom):
        frame = frames[m.geom_bodyid[geom]]
        pose = frame.then(m.geom_pos[geom], m.geom_quat[geom])
        kind, sizes = SHAPES[mujoco.mjtGeom(m.geom_type[geom])]
        geoms.append(
            {
                "type": kind,
                "size": m.geom_size[geom, :sizes].tolist(),
                "body": frame.link,
                "pos": pose.pos.tolist(),
                "quat": pose.quat.tolist(),
                "rgba": m.geom_rgba[geom].tolist(),
            }
        )
    return tuple(geoms)
