"""Synthetic runs with a replay: a trotting ant-like figure, a hopping soft cube, and particles.

The ant's poses are computed here by forward kinematics.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

FRAMES, DT = 240, 1 / 60
TORSO, SKIN = 0.25, [0.92, 0.58, 0.25, 1.0]
HIPS = np.pi / 4 + np.pi / 2 * np.arange(4)


def axis_angle(axis: Sequence[float] | np.ndarray, angle: float) -> np.ndarray:
    return np.concatenate([[np.cos(angle / 2)], np.sin(angle / 2) * np.asarray(axis)])


def multiply(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    (a, u), (b, v) = (p[0], p[1:]), (q[0], q[1:])
    return np.concatenate([[a * b - u @ v], a * v + b * u + np.cross(u, v)])


def rotate(q: np.ndarray, x: np.ndarray) -> np.ndarray:
    return x + 2 * np.cross(q[1:], np.cross(q[1:], x) + q[0] * x)


def along(direction: np.ndarray) -> list[float]:
    """Quaternion that rotates the z axis to a direction other than z."""
    d = np.asarray(direction, float) / np.linalg.norm(direction)
    axis = np.cross([0, 0, 1], d)
    return axis_angle(axis / np.linalg.norm(axis), np.arccos(d[2])).tolist()


def geoms() -> list[dict]:
    """Ground, torso, and for each leg a thigh and a shin (capsules along x of their bodies)."""
    upright = {"pos": [0, 0, 0], "quat": [1, 0, 0, 0], "rgba": SKIN}
    saddle = {"pos": [0.1, 0, 0.235], "quat": [1, 0, 0, 0], "rgba": [0.2, 0.25, 0.32, 1]}
    scene = [
        {"type": "plane", "size": [0, 0, 1], "body": -1, **upright},
        {"type": "sphere", "size": [TORSO], "body": 0, **upright},
        {"type": "box", "size": [0.12, 0.06, 0.03], "body": 0, **saddle},
    ]
    for leg in range(4):
        for segment, half in enumerate([0.2, 0.28]):
            body = 1 + 2 * leg + segment
            middle = {"pos": [half, 0, 0], "quat": along(np.array([1, 0, 0])), "rgba": SKIN}
            scene.append({"type": "capsule", "size": [0.08, half], "body": body, **middle})
    return scene


def poses() -> np.ndarray:
    """(FRAMES, 9, 7) float32."""
    out = np.zeros((FRAMES, 9, 7))
    for frame in range(FRAMES):
        t = frame * DT
        torso = np.array([1.5 * t, 0.15 * np.sin(1.1 * t), 0.62 + 0.04 * np.sin(16 * t)])
        yaw = axis_angle([0, 0, 1], 0.1 * np.sin(2 * t))
        out[frame, 0] = [*torso, *yaw]
        for leg, hip in enumerate(HIPS):
            phase = 8 * t + np.pi * (leg % 2)
            swing = multiply(yaw, axis_angle([0, 0, 1], hip + 0.35 * np.sin(phase)))
            thigh = multiply(swing, axis_angle([0, 1, 0], -0.25 * np.cos(phase)))
            start = torso + rotate(swing, np.array([TORSO - 0.03, 0, 0]))
            shin = multiply(thigh, axis_angle([0, 1, 0], 1.1))
            out[frame, 1 + 2 * leg] = [*start, *thigh]
            out[frame, 2 + 2 * leg] = [*(start + rotate(thigh, np.array([0.4, 0, 0]))), *shin]
    return out.astype(np.float32)


def write_run(folder: Path, task: str, scene: dict, frames: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    (folder / "replay.json").write_text(
        json.dumps({"task": task, "dt": DT, "frames": FRAMES, **scene})
    )
    (folder / "config.json").write_text(json.dumps({"task": task, "algorithm": "rfo", "seed": 0}))
    reward = 4 + np.sin(16 * DT * np.arange(FRAMES)) + 0.01 * np.arange(FRAMES)
    np.savez(folder / "replay.npz", reward=reward.astype(np.float32), **frames)
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "ant-rfo-0", "ant", {"geoms": geoms()}, {"poses": poses()})


CUBE = np.indices((2, 2, 2)).reshape(3, 8).T - [0.5, 0.5, 0.0]
SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
TRIANGLES = [triangle for a, b, c, d in SIDES for triangle in ([a, b, c], [a, c, d])]
"""Triangles of the cube, facing outward."""


@pytest.fixture
def particle_run_folder(tmp_path: Path) -> Path:
    """64 particles in a cube of 0.4 m that hops 5 m along x. The tint is -1 in the first half of
    the episode, then +1."""
    t = DT * np.arange(FRAMES)[:, None]
    x, y, z = 0.13 * np.indices((4, 4, 4)).reshape(3, 64)
    points = np.stack([x + 1.25 * t, y + 0 * t, z + 0.05 + 0.2 * np.abs(np.sin(6 * t))], axis=-1)
    tint = np.where(t < DT * FRAMES / 2, -1.0, 1.0) * np.ones(64)
    frames = {"points": points.astype(np.float32), "tint": tint.astype(np.float32)}
    return write_run(
        tmp_path / "particles-rfo-0", "particles", {"points": {"radius": 0.06}}, frames
    )


@pytest.fixture
def soft_run_folder(tmp_path: Path) -> Path:
    """A soft cube of 0.4 m that hops 5 m along x. The activation is -1 in the first half of the
    episode, then +1."""
    t = DT * np.arange(FRAMES)[:, None]
    squeeze = 1 + 0.2 * np.sin(12 * t)
    x, y, z = 0.4 * CUBE.T
    vertices = np.stack(
        [x + 1.25 * t, y / squeeze, z * squeeze + 0.3 * np.abs(np.sin(6 * t))], axis=-1
    )
    activation = np.where(t < DT * FRAMES / 2, -1.0, 1.0) * np.ones(len(TRIANGLES))
    frames = {"vertices": vertices.astype(np.float32), "activation": activation.astype(np.float32)}
    return write_run(tmp_path / "soft-rfo-0", "soft", {"surface": {"triangles": TRIANGLES}}, frames)
