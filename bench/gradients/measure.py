"""Accuracy, size and usefulness of the ant's gradients: the numbers in docs/gradients.md.

    python bench/gradients/measure.py [--peer-python PATH] [--golden DIR]
    python bench/gradients/figure.py

The first command writes results.json in this folder, the second draws docs/images/gradients.png.
`--peer-python` names an interpreter that has Brax (default: this one). `--golden` names the folder
with trajectories recorded from Rewarped. Parts whose data are missing are left out, with a message.
All random numbers have fixed seeds. Takes a few minutes.

The quantity is the return R over T control steps, a function of all actions: the sum of rewards
without discount or reset. A direction changes every action by +1 or -1, so a step of size h changes
each action by h.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.base import open_loop
from rfo.envs.tasks.ant import Ant, AntState
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.gradcheck import Direction
from rfo.training.record import provenance

HERE = Path(__file__).parent
GOLDEN = HERE.parents[1].parent / "shared" / "golden"

HORIZONS = (1, 2, 4, 8, 16, 32)
T = max(HORIZONS)
BATCH, DIRECTIONS = 64, 4
FINE = (1e-5, 1e-6, 1e-7)
"""Step sizes that find the derivative itself, in float64."""
COARSE = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4)
"""Step sizes as an optimiser or exploration makes them."""
SETTLING, SETTLING_ACTION, ACTION = 40, 0.2, 0.8
FLIGHT = 5.0
"""Height added so that nothing touches the ground [m]."""


class Sample(NamedTuple):
    """Directional derivatives along D directions over H horizons in B environments."""

    analytic: np.ndarray  # (D, H, B) by the adjoint
    numeric: np.ndarray  # (D, sizes, H, B) by differences
    norm_by_step: np.ndarray  # (T, B) norms of the gradient over the longest horizon


def ant(dtype: Any = np.float64, substeps: int = 16, **changes: Any) -> Ant:
    """AntRun with a precision, a number of substeps and changed arrays of its model."""
    env = Ant()
    model = dataclasses.replace(env.simulator.model, **changes)
    env.simulator = Articulated(model, env.spec.dt, substeps, dtype=dtype)
    return env


def draws() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Actions (T, B, 8), directions (D, T, B, 8) and settling actions, the same for every
    measurement."""
    rng = np.random.default_rng(0)
    actions = rng.uniform(-ACTION, ACTION, (T, BATCH, 8)).astype(np.float32)
    directions = rng.choice([-1.0, 1.0], (DIRECTIONS, T, BATCH, 8))
    settling = rng.uniform(-SETTLING_ACTION, SETTLING_ACTION, (SETTLING, BATCH, 8))
    return actions.astype(float), directions, settling


def start(env: Ant, kind: str) -> AntState:
    """A start state: `reset`, `flight` (a reset far above the ground) or `settled` (after small
    random actions)."""
    state = env.reset(jax.random.key(0), BATCH)
    if kind == "flight":
        q = state.physics.q.at[:, 2].add(FLIGHT)
        state = AntState(ArticulatedState(q, state.physics.qd), state.action)
    if kind == "settled":
        state = jax.jit(partial(open_loop, env))(state, draws()[2])[0]
    # Round to float32, so that both precisions start from the same numbers.
    return jax.tree.map(lambda x: np.asarray(x, np.float32).astype(float), state)


def gradients(
    env: Ant, state: AntState, actions: np.ndarray, horizons: tuple[int, ...]
) -> np.ndarray:
    """Gradient of R over each horizon with respect to the actions, (H, T, B, 8), in `env`'s
    precision."""
    dtype = env.simulator.dtype
    with jax.enable_x64(dtype == np.float64):
        state = jax.tree.map(lambda x: jnp.asarray(x, dtype), state)
        program = jax.jit(jax.grad(lambda a, s, weight: (weight @ open_loop(env, s, a)[1]).sum()))
        weights = (np.arange(len(actions)) < np.array(horizons)[:, None]).astype(dtype)
        return np.stack(
            [np.asarray(program(actions.astype(dtype), state, w), float) for w in weights]
        )


def differences(
    env: Ant,
    state: AntState,
    actions: np.ndarray,
    sizes: tuple[float, ...],
    horizons: tuple[int, ...],
) -> np.ndarray:
    """Central differences of R in float64 along each direction, (D, sizes, H, B)."""
    forward = jax.jit(lambda a: open_loop(env, state, a)[1])

    def returns(moved: np.ndarray) -> np.ndarray:
        return np.cumsum(np.asarray(forward(moved)), axis=0)[np.array(horizons) - 1]

    directions = draws()[1]
    return np.asarray(
        [
            [(returns(actions + h * d) - returns(actions - h * d)) / (2 * h) for h in sizes]
            for d in directions
        ]
    )


def sample(
    env: Ant, kind: str, sizes: tuple[float, ...], horizons: tuple[int, ...] = HORIZONS
) -> Sample:
    """Adjoint and differences of one simulator from one kind of start."""
    state, (actions, directions, _) = start(env, kind), draws()
    gradient = gradients(env, state, actions, horizons)
    return Sample(
        along(gradient, directions),
        differences(env, state, actions, sizes, horizons),
        np.linalg.norm(gradient[-1], axis=2),
    )


def along(gradient: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Gradients (H, T, B, A) along directions (D, T, B, A): (D, H, B)."""
    return np.einsum("htba,dtba->dhb", gradient, directions)


def exactness(measured: Sample) -> list[dict[str, float]]:
    """Error of the adjoint by horizon, where the differences converge as in `rfo check-grad`."""
    rows = []
    for h, steps in enumerate(HORIZONS):
        numeric = measured.numeric[:, :, h]
        scale = np.maximum(np.abs(numeric), np.sqrt(np.mean(numeric**2, axis=0)))
        checks = [
            Direction(
                str(d), FINE, measured.analytic[d, h], numeric[d], scale[d], np.zeros_like(scale[d])
            )
            for d in range(DIRECTIONS)
        ]
        error = np.concatenate([check.error[check.converged] for check in checks])
        share = np.mean([check.converged for check in checks])
        rows.append({"steps": steps, **quantiles(error), "converged": float(share)})
    return rows


def usefulness(measured: Sample) -> list[dict[str, float]]:
    """Error of the changes that the gradient predicts over the longest horizon, by step size."""
    predicted = measured.analytic[:, -1]
    rows = []
    for size, happened in zip(COARSE, measured.numeric.swapaxes(0, 1)[:, :, -1], strict=True):
        scale = np.maximum(np.abs(happened), np.sqrt(np.mean(happened**2, axis=0)))
        error = np.abs(predicted - happened) / scale
        # over directions, each environment with equal weight
        norms = np.linalg.norm(predicted, axis=0) * np.linalg.norm(happened, axis=0)
        cosine = np.sum(predicted * happened, axis=0) / norms
        rows.append(
            {
                "size": size,
                **quantiles(error.ravel()),
                "within_10_percent": float(np.mean(error <= 0.1)),
                "cosine": float(np.median(cosine)),
            }
        )
    return rows


def norms(measured: Sample) -> dict[str, Any]:
    """Norms of the gradient over the longest horizon, per environment and by control step."""
    parts = measured.norm_by_step
    total = np.linalg.norm(parts, axis=0)
    return {
        **quantiles(total),
        "max": float(total.max()),
        "by_step": {
            "median": np.median(parts, axis=1).tolist(),
            "p90": np.quantile(parts, 0.9, axis=1).tolist(),
        },
    }


def quantiles(values: np.ndarray) -> dict[str, float]:
    """Median and 90th percentile; NaN if there are no values."""
    if not values.size:
        return {"median": float("nan"), "p90": float("nan")}
    return {"median": float(np.median(values)), "p90": float(np.quantile(values, 0.9))}


def measure_ant() -> dict[str, Any]:
    """Exactness in both precisions, and norms, from a reset and settled on the ground."""
    results: dict[str, Any] = {"exactness": {}, "norms": {}}
    double, single = ant(), ant(np.float32)
    actions, directions, _ = draws()
    for kind in ("reset", "settled"):
        measured = sample(double, kind, FINE)
        results["exactness"][f"rfo, float64, {kind}"] = exactness(measured)
        gradient = gradients(single, start(double, kind), actions, HORIZONS)
        rounded = measured._replace(analytic=along(gradient, directions))
        results["exactness"][f"rfo, float32, {kind}"] = exactness(rounded)
        results["norms"][kind] = norms(measured)
    return results


def laws() -> dict[str, tuple[str, Ant]]:
    """Start and simulator for each law of contact and limits, by name."""
    model = Ant().simulator.model
    stiff, damped, friction = model.contact_ke, model.contact_kd, model.contact_kf
    nothing, calm = np.zeros_like(model.limit_ke), {"limit_kd": np.zeros_like(model.limit_kd)}
    return {
        "flight, no limits": ("flight", ant(limit_ke=nothing, **calm)),
        "flight, limits without damping": ("flight", ant(**calm)),
        "flight": ("flight", ant()),
        "ground, no damping of contact and limits": ("settled", ant(contact_kd=0 * damped, **calm)),
        "ground, no damping of contact": ("settled", ant(contact_kd=0 * damped)),
        "ground, no damping of limits": ("settled", ant(**calm)),
        "ground": ("settled", ant()),
        **{f"stiffness x {x}": ("settled", ant(contact_ke=x * stiff)) for x in (0.03, 0.1, 0.3, 3)},
        **{f"damping x {x}": ("settled", ant(contact_kd=x * damped)) for x in (0.1, 0.3, 3)},
        **{f"friction slope x {x}": ("settled", ant(contact_kf=x * friction)) for x in (0.1, 10)},
        "stiffness and damping x 0.1": (
            "settled",
            ant(contact_ke=0.1 * stiff, contact_kd=0.1 * damped),
        ),
        **{f"{n} substeps": ("settled", ant(substeps=n)) for n in (8, 32, 64)},
    }


def measure_laws() -> dict[str, Any]:
    """Norms and usefulness under each law."""
    results = {}
    for name, (kind, env) in laws().items():
        print(f"  {name}", flush=True)
        measured = sample(env, kind, COARSE, (T,))
        results[name] = {"norms": norms(measured), "usefulness": usefulness(measured)}
    return results


def measure_brax(python: str) -> dict[str, Any] | None:
    """Exactness and norms of Brax; None if Brax is not installed."""
    if subprocess.run([python, "-c", "import brax"], capture_output=True).returncode:
        print(f"{python} has no brax: left out")
        return None
    actions, directions, _ = draws()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "brax.npz")
        np.savez(path, actions=actions, directions=directions, sizes=FINE, horizons=HORIZONS)
        subprocess.run([python, str(HERE / "brax_ant.py"), path], check=True)
        with np.load(path) as file:
            measured = Sample(*(file[name] for name in Sample._fields))
    return {"exactness": exactness(measured), "norms": norms(measured)}


def recorded_rewarped(folder: Path) -> list[dict[str, float]] | None:
    """Recorded error of Rewarped's gradient against its own differences (float32, sizes 1e-2 and
    1e-3).

    These differences count as converged where both sizes agree within 10 %."""
    path = folder / "ant_a.npz"
    if not path.is_file():
        print(f"no {path}: Rewarped left out")
        return None
    with np.load(path) as file:
        analytic, numeric, horizons = file["fd_ad_values"], file["fd_values"], file["fd_horizons"]
    rows = []
    for h, steps in enumerate(horizons.tolist()):
        wide, narrow = numeric[:, 0, h], numeric[:, 1, h]
        scale = np.maximum(np.abs(narrow), np.sqrt(np.mean(narrow**2, axis=0)))
        converged = np.abs(wide - narrow) <= 0.1 * scale
        error = np.abs(analytic[:, h] - narrow) / scale
        row = {**quantiles(error[converged]), "converged": float(converged.mean())}
        rows.append({"steps": steps, **row, "median_of_all": float(np.median(error))})
    return rows


def main() -> None:
    """Measure and write results.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--golden", type=Path, default=GOLDEN)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print("exactness and norms")
    results = measure_ant()
    print("laws of contact and limits")
    results["laws"] = measure_laws()
    print("peers")
    if peer := measure_brax(options.peer_python):
        results["exactness"]["brax, float64, reset"] = peer["exactness"]
        results["norms"]["brax"] = peer["norms"]
    if rows := recorded_rewarped(options.golden):
        results["exactness"]["rewarped 1.3.3, float32, reset (recorded)"] = rows
    facts = {
        "batch": BATCH,
        "directions": DIRECTIONS,
        "fine": FINE,
        "coarse": COARSE,
        **provenance(),
    }
    facts["command"] = "python bench/gradients/measure.py"
    (HERE / "results.json").write_text(json.dumps({"facts": facts, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
