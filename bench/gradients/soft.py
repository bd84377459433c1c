"""Accuracy of the soft walkers' gradients: writes soft.json and prints Markdown.

    python bench/gradients/soft.py

Compares the adjoint in float64 and in float32 with central differences in float64, where these
agree within 1e-3 between neighbouring step sizes h. The return is the sum of rewards over 1, 8 and
32 control steps of random actions in [-0.8, 0.8]. There are 16 bodies and 4 random directions, in
which every action changes by +h or -h. The bodies start from a reset (and fall) or after 40 steps
of small actions (and stand on the ground).
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.base import open_loop
from rfo.envs.tasks.soft_jumper import CORRECTED, FAITHFUL, SoftJumper, SoftState, bench, table
from rfo.physics.tetrahedra import TetrahedraState
from rfo.training.record import provenance

BATCH, DIRECTIONS, SETTLING = 16, 4, 40
HORIZONS = (1, 8, 32)
SIZES = (1e-5, 1e-6, 1e-7)
BODIES = {"soft_jumper": (table, FAITHFUL), "soft_jumper_small": (bench, CORRECTED)}


def make(name: str, dtype: Any) -> SoftJumper:
    body, version = BODIES[name]
    return SoftJumper(name, body(), version, dtype=dtype)


def start(name: str, kind: str) -> SoftState:
    """Start state in float32, cast to float64, so that both precisions start from the same
    numbers."""
    task = make(name, np.float32)
    state = jax.jit(lambda key: task.reset(key, BATCH))(jax.random.key(0))
    if kind == "on the ground":
        shape = (SETTLING, BATCH, task.spec.action_size)
        actions = np.random.default_rng(1).uniform(-0.2, 0.2, shape).astype(np.float32)
        state = jax.jit(partial(open_loop, task))(state, actions)[0]
    return jax.tree.map(lambda x: np.asarray(x, float), state)


def cast(state: SoftState, dtype: Any) -> SoftState:
    q, qd = (jnp.asarray(x, dtype) for x in state.physics)
    return SoftState(TetrahedraState(q, qd), jnp.asarray(state.action, dtype))


def gradient(name: str, state: SoftState, actions: np.ndarray, dtype: Any) -> np.ndarray:
    """Gradient (H, T, B, A) of the return over each horizon."""
    task = make(name, dtype)
    weights = (np.arange(len(actions)) < np.array(HORIZONS)[:, None]).astype(dtype)
    program = jax.jit(jax.grad(lambda a, s, w: (w @ open_loop(task, s, a)[1]).sum()))
    return np.stack(
        [np.asarray(program(actions.astype(dtype), cast(state, dtype), w), float) for w in weights]
    )


def differences(
    name: str, state: SoftState, actions: np.ndarray, directions: np.ndarray
) -> np.ndarray:
    """Central differences (D, sizes, H, B) in float64."""
    task = make(name, np.float64)
    forward = jax.jit(lambda a: open_loop(task, cast(state, np.float64), a)[1])

    def returns(moved: np.ndarray) -> np.ndarray:
        return np.cumsum(np.asarray(forward(moved)), axis=0)[np.array(HORIZONS) - 1]

    return np.array(
        [
            [(returns(actions + h * d) - returns(actions - h * d)) / (2 * h) for h in SIZES]
            for d in directions
        ]
    )


def measured(name: str, kind: str) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    size = make(name, np.float32).spec.action_size
    actions = rng.uniform(-0.8, 0.8, (HORIZONS[-1], BATCH, size)).astype(np.float32).astype(float)
    directions = rng.choice([-1.0, 1.0], (DIRECTIONS, *actions.shape))
    state = start(name, kind)
    found = differences(name, state, actions, directions)
    near = np.abs(np.diff(found, axis=1)) / (np.abs(found[:, 1:]) + 1e-12)
    best = near.argmin(axis=1)
    value = np.take_along_axis(found, best[:, None] + 1, axis=1)[:, 0]  # (D, H, B)
    converged = near.min(axis=1) < 1e-3
    result: dict[str, Any] = {"converged": converged.mean(axis=(0, 2)).tolist()}
    for dtype in (np.float64, np.float32):
        exact = gradient(name, state, actions, dtype)
        predicted = np.einsum("htba,dtba->dhb", exact, directions)
        error = np.where(converged, np.abs(predicted - value) / np.abs(value), np.nan)
        norm = np.linalg.norm(exact, axis=(1, 3))  # (H, B)
        result[np.dtype(dtype).name] = {
            "error": np.nanmedian(error, axis=(0, 2)).tolist(),
            "norm": [np.percentile(row, [50, 90, 100]).tolist() for row in norm],
        }
    return result


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    results = {
        name: {kind: measured(name, kind) for kind in ("from reset", "on the ground")}
        for name in BODIES
    }
    facts = {"batch": BATCH, "horizons": HORIZONS, "sizes": SIZES, "machine": provenance()}
    path = Path(__file__).with_name("soft.json")
    path.write_text(json.dumps({**facts, "results": results}, indent=1) + "\n")
    print(
        "| relative error of the adjoint, median | 1 step | 8 steps | 32 steps |\n|---|---|---|---|"
    )
    for name, kinds in results.items():
        for kind, row in kinds.items():
            for precision in ("float32", "float64"):
                errors = " | ".join(f"{e:.1e}" for e in row[precision]["error"])
                print(f"| `{name}`, {kind}, {precision} | {errors} |")
    for name, kinds in results.items():
        for kind, row in kinds.items():
            shares = ", ".join(f"{x:.0%}" for x in row["converged"])
            median, p90, largest = (f"{x:.3g}" for x in row["float64"]["norm"][-1])
            norms = f"median {median}, 90 % {p90}, maximum {largest}"
            print(f"{name}, {kind}: converged {shares}; norm over 32 steps {norms}")


if __name__ == "__main__":
    main()
