"""Welds and connects of an MJCF file, by the rule of `rfo.physics.mjcf.constants`."""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco
import numpy as np

from rfo.physics.mjcf.constants import TINY, spring
from rfo.physics.mjcf.tree import IDENTITY, Frame, rows
from rfo.physics.reference import Reference, relative
from rfo.physics.welds import Welds


def welds(
    m: mujoco.MjModel, frames: list[Frame], at: Reference, gravity: float, soft: float
) -> Welds:
    """The active welds and connects of a file, for frequencies times `soft`."""
    pinned = m.eq_type == mujoco.mjtEq.mjEQ_CONNECT
    welded = m.eq_type == mujoco.mjtEq.mjEQ_WELD
    links, places, turns, constants = [], [], [], []
    for i in np.flatnonzero(m.eq_active0 & (pinned | welded)):
        one, other = _frames(m, frames, i)
        link, place = np.array([one.link, other.link]), np.concatenate([one.pos, other.pos])
        push, turn = relative(at, link, place)
        rate, ratio = spring(m.eq_solref[i], m.eq_solimp[i], gravity)
        turns_too = welded[i] and m.eq_data[i, 10] != 0
        constants.append(
            [
                *_constants(at.largest(push), soft * np.sqrt(rate), ratio),
                *_constants(at.largest(turn) * turns_too, soft * np.sqrt(rate), ratio),
            ]
        )
        links.append(link)
        places.append(place)
        turns.append(np.concatenate([one.quat, other.quat]))
    return Welds(
        np.array(links, np.int32).reshape(-1, 2),
        rows(places, 6),
        rows(turns, 8),
        *rows(constants, 4).T,
    )


def _constants(mobility: float, frequency: float, ratio: float) -> tuple[float, float]:
    """Stiffness and damping; zero if nothing moves."""
    if mobility < TINY:
        return 0.0, 0.0
    return frequency**2 / mobility, 2 * ratio * frequency / mobility


def _frames(m: mujoco.MjModel, frames: list[Frame], equality: np.integer) -> tuple[Frame, Frame]:
    """The points that are held together, and for a weld the frames."""
    first, second = m.eq_obj1id[equality], m.eq_obj2id[equality]
    if m.eq_objtype[equality] == mujoco.mjtObj.mjOBJ_SITE:
        one, other = (
            frames[m.site_bodyid[site]].then(m.site_pos[site], m.site_quat[site])
            for site in (first, second)
        )
        return one, other
    data = m.eq_data[equality]
    if m.eq_type[equality] == mujoco.mjtEq.mjEQ_CONNECT:
        poses = (data[:3], IDENTITY), (data[3:6], IDENTITY)
    else:  # the second's pose in the first, and where on the second it is held
        poses = (data[3:6], data[6:10]), (data[:3], IDENTITY)
    return frames[first].then(*poses[0]), frames[second].then(*poses[1])
