"""How cost grows with the size of an experiment: writes scaling.json and scaling.png.

    python bench/scaling/scaling.py [AXIS ...]

The physics' axes are links of a chain, tetrahedra of a soft block, particles of a block of water,
and environments of the ant. They are measured without JAX: processor time of one control step and
its adjoint on one thread, which other programs hardly affect, and the memory that a rollout keeps
for each environment and control step. The training's axes are `environments`, `horizon`, `seeds`
and `cores` of the ant, by `rfo estimate` in a process of its own; measure them on an idle machine.
If axes are named, the others keep their results.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from rfo.envs.tasks.fluid_move import WATER
from rfo.experiment.build import build_task
from rfo.lab.cores import keep_on, usable_cores
from rfo.physics import mesh, mjcf
from rfo.physics.articulated import Articulated
from rfo.physics.host import Plan
from rfo.physics.mpm import MPM, Grid
from rfo.physics.tetrahedra import Tetrahedra
from rfo.training.provenance import provenance

HERE = Path(__file__).parent
REPETITIONS = 5

LINKS = (5, 10, 20, 50, 100)
CUBES = (4, 6, 8, 10, 12, 15)
"""Edges of the soft block, in cubes of five tetrahedra."""
PARTICLES = (1_000, 4_000, 16_000, 64_000)
BATCHES = (64, 256, 1_024, 4_096, 16_384)
ENVIRONMENTS = (64, 256, 1_024)
HORIZONS = (8, 32, 128)
SEEDS = (1, 2, 4)
CORES = tuple(2**k for k in range(len(usable_cores()).bit_length()))
BODIES = ("links", "tetrahedra", "particles")
TRAININGS = ("environments", "horizon", "seeds")


def chain(links: int) -> Articulated:
    """A chain of capsules on hinges that lies above the ground."""
    end, body = "", ""
    for _ in range(links):
        body += (
            '<body pos="0.1 0 0"><joint axis="0 1 0" damping="0.1"/>'
            '<geom type="capsule" fromto="0 0 0 0.1 0 0" size="0.02" density="500"/>'
        )
        end += "</body>"
    xml = (
        '<mujoco><worldbody><geom type="plane" size="9 9 1"/>'
        f'<body pos="0 0 0.5">{body}{end}</body></worldbody></mujoco>'
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "chain.xml"
        file.write_text(xml)
        return Articulated(mjcf.load(file), dt=1 / 60, substeps=16)


def block(cubes: int) -> Tetrahedra:
    """A soft cube of 20 cm."""
    cells = [(i, j, k) for i in range(cubes) for j in range(cubes) for k in range(cubes)]
    return Tetrahedra(mesh.from_voxels(cells, 0.2 / cubes), dt=1 / 60, substeps=16)


def water(particles: int) -> tuple[MPM, np.ndarray]:
    """A cube of water of 0.2 m, eight particles a cell, in a box of twice its length."""
    edge = round((particles / 8) ** (1 / 3))
    dx, side = 0.2 / edge, 2 * edge
    line = (np.arange(side) + 0.5) * 0.2 / side + 4 * dx
    x = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    grid = Grid((2 * edge + 8,) * 3, dx)
    volume = 0.2**3 / len(x)
    return MPM(WATER, len(x), volume, grid, dt=1 / 60, substeps=16), x


def physics(simulator: Any, state: Iterable[np.ndarray], envs: int) -> dict[str, float]:
    """Processor time of a control step and its adjoint [s], and what a rollout keeps [bytes]."""
    kernels = simulator.kernels
    inputs = [np.asarray(x, np.float32).reshape(envs, -1) for x in state]
    missing = kernels.input_widths[len(inputs) :]
    inputs += [np.zeros((envs, width), np.float32) for width in missing]
    plan = Plan(kernels, envs, threads=1)
    outputs = plan.forward(*inputs)
    forward = best(lambda: plan.forward(*inputs))
    adjoint = best(lambda: plan.adjoint(*inputs, *outputs))
    return {
        "environments": envs,
        "forward_s": forward / envs / simulator.substeps,
        "adjoint_s": adjoint / envs / simulator.substeps,
        "kept_bytes": 4 * sum(kernels.input_widths),
    }


def best(call: Callable[[], Any]) -> float:
    """Least processor time of a call [s]."""
    times = []
    for _ in range(REPETITIONS):
        begun = time.thread_time()
        call()
        times.append(time.thread_time() - begun)
    return min(times)


def at_rest(simulator: Any, envs: int) -> list[np.ndarray]:
    return [np.asarray(x) for x in simulator.init(envs)]


def of_links(size: int) -> dict[str, float]:
    simulator = chain(size)
    return physics(simulator, at_rest(simulator, 64), 64)


def of_tetrahedra(size: int) -> dict[str, float]:
    simulator = block(size)
    found = physics(simulator, at_rest(simulator, 2), 2)
    return {"size": len(simulator.mesh.tets), **found}


def of_particles(size: int) -> dict[str, float]:
    simulator, x = water(size)
    state = [np.asarray(y) for y in simulator.init(x[None])]
    return {"size": simulator.particles, **physics(simulator, state, 1)}


def of_batches(size: int) -> dict[str, float]:
    simulator = build_task("ant").simulator
    return physics(simulator, at_rest(simulator, size), size)


def training(*words: str, cores: int | None = None) -> dict[str, float]:
    """What `rfo estimate` tells, kept on that many cores."""
    command = [sys.executable, "-m", "rfo.cli", "estimate", "ant", "--json", *words]
    begin = partial(keep_on, usable_cores()[:cores])
    done = subprocess.run(command, check=True, capture_output=True, preexec_fn=begin)
    told = json.loads(done.stdout)
    names = ("compile_seconds", "update_seconds", "steps_per_second", "memory_peak")
    return {name: told[name] for name in (*names, "memory_planned")}


AXES: dict[str, tuple[tuple[int, ...], Callable[[int], dict[str, float]]]] = {
    "links": (LINKS, of_links),
    "tetrahedra": (CUBES, of_tetrahedra),
    "particles": (PARTICLES, of_particles),
    "batches": (BATCHES, of_batches),
    "environments": (ENVIRONMENTS, lambda n: training("--envs", str(n), "--timed", "2")),
    "horizon": (HORIZONS, lambda n: training("--horizon", str(n))),
    "seeds": (SEEDS, lambda n: training("--seeds", str(n))),
    "cores": (CORES, lambda n: training(cores=n)),
}


def draw(told: dict[str, Any], file: Path) -> None:
    """Time over size, with a line of slope one: of a substep, and of a training's update."""
    figure, rows = plt.subplots(2, 3, figsize=(9, 5.2), layout="constrained")
    for name, ax in zip(BODIES, rows[0], strict=True):
        _line(ax, told[name]["rows"], ("forward_s", "adjoint_s"), 1e6)
        ax.set(xlabel=name, title="one substep [µs]")
    for name, ax in zip(TRAININGS, rows[1], strict=True):
        _line(ax, told[name]["rows"], ("update_seconds",), 1.0)
        ax.set(xlabel=name, title="one update [s]")
    rows[0, 0].legend(frameon=False)
    figure.savefig(file, dpi=100)


def _line(ax: Axes, rows: list[dict[str, float]], names: tuple[str, ...], unit: float) -> None:
    size = np.array([row["size"] for row in rows])
    time = np.array([sum(row[name] for name in names) for row in rows]) * unit
    ax.loglog(size, time, "o-", label="measured")
    ax.loglog(size, time[0] * size / size[0], ":", color="grey", label="proportional")
    ax.minorticks_off()
    shown = size[[0, len(size) // 2, -1]]
    ax.set_xticks(shown, [f"{n:,}" for n in shown])


def main(names: list[str]) -> None:
    file = HERE / "scaling.json"
    told = json.loads(file.read_text()) if file.exists() else {}
    for name in names or AXES:
        sizes, measure = AXES[name]
        rows = []
        for size in sizes:
            rows.append({"size": size, **measure(size)})
            print(name, rows[-1], file=sys.stderr, flush=True)
        facts = {"cores": len(usable_cores()), "load": os.getloadavg()[0], **provenance()}
        told[name] = {"rows": rows, "machine": facts}
        file.write_text(json.dumps(told, indent=1) + "\n")
    draw(told, HERE / "scaling.png")


if __name__ == "__main__":
    main(sys.argv[1:])
