"""Write the tables of docs/environments.md: `python bench/environments/page.py`.

Sizes and constants come from the tasks themselves, gradients from bench/gradients/tasks.json (which
tasks.py writes), speeds from bench/speed/*.json and pictures from pictures.py in this folder. Each
table is between `<!-- table NAME -->` and `<!-- end -->`.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from rfo.experiment.build import build_task
from rfo.experiment.presets import TASKS
from rfo.physics.articulated import Articulated
from rfo.physics.mpm import MPM
from rfo.physics.tetrahedra import Tetrahedra

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "environments.md"
PICTURES = ROOT / "docs" / "images" / "tasks"

NEVER = "never"
NOTES = {
    "ant": ("torso below 0.27 m", "AntRun of Rewarped 1.3.3"),
    "hopper": ("torso below -0.45 m", "DFlex, reward of the SHAC paper"),
    "cheetah": (NEVER, "DFlex's sizes and reward, Gymnasium's body"),
    "humanoid": ("torso below 0.74 m", "Humanoid of Rewarped 1.3.3"),
    "humanoid_corrected": ("torso below 0.74 m", "the same with upright hips"),
    "hand_reorient": ("cube 0.24 m from the goal", "HandReorient of Rewarped 1.3.3"),
    "hand_reorient_corrected": ("cube 0.24 m from the goal", "the same with the whole bonus"),
    "hand_reorient_smooth": ("cube 0.24 m from the goal", "the same, softly damped, see below"),
    "go2": ("trunk below 0.15 m or 60 degrees", "our own: a Unitree Go2, velocity command"),
    "go2_velocity": ("trunk below 0.15 m or 69 degrees", "our own: terms of `envs/rewards.py`"),
    "g1_velocity": (
        "pelvis below 0.5 m or 69 degrees",
        "our own: mjlab's G1, these terms and a gait",
    ),
    "cartpole": (NEVER, "Cartpole of Rewarped 1.3.3"),
    "soft_jumper": (NEVER, "SoftJumper of Rewarped 1.3.3"),
    "soft_jumper_corrected": (NEVER, "the same body, see below"),
    "soft_jumper_camera": (NEVER, "seen by a depth camera"),
    "soft_jumper_small": (NEVER, "a small bench"),
    "soft_jumper_small_camera": (NEVER, "seen by a depth camera"),
    "soft_worm": (NEVER, "a flat beam"),
    "rolling_flat": (NEVER, "RollingFlat of Rewarped 1.3.3"),
    "rolling_flat_corrected": (NEVER, "the same, see below"),
    "rolling_flat_small": (NEVER, "a smaller one, see below"),
    "fluid_move": (NEVER, "FluidMove of Rewarped 1.3.3"),
    "fluid_move_corrected": (NEVER, "the same, see below"),
    "fluid_move_small": (NEVER, "a smaller one, see below"),
    "hand_flip": (NEVER, "HandFlip of Rewarped 1.3.3"),
    "hand_flip_corrected": (NEVER, "the same, see below"),
    "hand_flip_small": (NEVER, "a smaller one, see below"),
}
"""For each simulated task: when an episode ends early, and where the task comes from."""
SPEEDS = ("ant", "soft_jumper", "rigid")
"""Files in bench/speed that `rfo bench speed` wrote; particles.py wrote the others."""
SPEED_COLUMNS = ("physics, 1 core", "physics, 4 cores", "training, 1 core", "load")
UNKNOWN = "–"
"""Stands for a number that was not measured."""


def main() -> None:
    """Write the tables into the page."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def filled(page: str) -> str:
    """The page with new tables.

    Raises:
        KeyError: if the page names a table that does not exist.
    """
    contents = tables()
    return re.sub(
        r"(<!-- table (\w+) -->\n).*?(<!-- end -->)",
        lambda match: match[1] + contents[match[2]] + match[3],
        page,
        flags=re.DOTALL,
    )


def tables() -> dict[str, str]:
    """All tables in Markdown, by name."""
    built = {name: build_task(name, threads=1) for name in TASKS}
    rows = {
        "tasks": [overview(name, task) for name, task in built.items() if TASKS[name].simulated],
        "closed": [closed(name, task) for name, task in built.items() if not TASKS[name].simulated],
        "measured": [measured(name) for name in TASKS if TASKS[name].simulated],
    }
    for table, kind, columns in (
        ("rigid", Articulated, rigid),
        ("soft", Tetrahedra, soft),
        ("particles", MPM, loose),
    ):
        rows[table] = [
            columns(name, task) for name, task in built.items() if isinstance(simulator(task), kind)
        ]
    return {name: markdown(entries) for name, entries in rows.items()}


def simulator(task):
    """The simulator of a task; None for a closed-form task."""
    return getattr(task, "simulator", None)


def overview(name: str, task) -> dict[str, str]:
    """Sizes of observation and action, and the ends of episodes."""
    spec = task.spec
    ends, after = NOTES[name]
    return {
        "": picture(name),
        "task": f"[`{name}`](../src/{TASKS[name].module.replace('.', '/')}.py)",
        "observation": seen(spec.observation),
        "action": str(spec.action_size),
        "episode": f"{spec.episode_length} x {spec.dt:.3g} s",
        "ends early": ends,
        "after": after,
    }


def picture(name: str) -> str:
    """Link to the picture of the task, or of a task with the same body."""
    words = name.split("_")
    for count in range(len(words), 0, -1):
        shared = "_".join(words[:count])
        if (PICTURES / f"{shared}.png").exists():
            return f"![{shared}](images/tasks/{shared}.png)"
    return ""


def seen(observation) -> str:
    """Size of a vector observation, or number of points and size of the vectors."""
    if isinstance(observation, int):
        return str(observation)
    points = sum(shape[0] for shape in observation.values() if len(shape) == 2)
    return f"{points} points, {sum(shape[0] for shape in observation.values() if len(shape) == 1)}"


def rigid(name: str, task) -> dict[str, str]:
    """Sizes and constants of an articulated task."""
    model = task.simulator.model
    law = np.concatenate([model.contact_law, np.reshape(model.pairs.law, (-1, 5))])
    return {
        "task": f"`{name}`",
        "degrees of freedom": str(model.nv),
        "mass [kg]": f"{model.mass.sum():.3g}",
        "gear [N, N m]": extent(forces(model.actuators)),
        "contacts with the ground, pairs": f"{len(model.contact_law)}, {len(model.pairs.link)}",
        "k_e, k_d, k_f, mu": constants(law),
        "substeps": str(task.simulator.substeps),
    }


def forces(actuators) -> np.ndarray:
    """Gears of motors; the largest forces of servos."""
    return actuators.gear if actuators.plain else actuators.force_range[:, 1]


def soft(name: str, task) -> dict[str, str]:
    """Sizes and constants of a body of tetrahedra."""
    body = task.simulator
    values = body.kernels.values
    return {
        "task": f"`{name}`",
        "vertices": str(len(body.mesh.vertices)),
        "tetrahedra": str(len(body.mesh.tets)),
        "muscles": str(body.controls),
        "mass [kg]": f"{body.mass.sum():.3g}",
        "k_e, k_d, k_f, mu": ", ".join(f"{constant:g}" for constant in values["contact_law"][:4]),
        "substeps": str(body.substeps),
    }


def loose(name: str, task) -> dict[str, str]:
    """Sizes and constants of a particle task."""
    lump = task.simulator
    values = lump.kernels.values
    return {
        "task": f"`{name}`",
        "particles": str(lump.particles),
        "cells": " x ".join(str(n) for n in lump.grid.cells),
        "tools' shapes": str(len(lump.tools)),
        "friction of tools, ground": f"{values['friction']:g}, {values['ground_friction']:g}",
        "substeps": str(lump.substeps),
    }


def closed(name: str, task) -> dict[str, str]:
    """A task without a simulator."""
    spec = task.spec
    return {
        "task": f"`{name}`",
        "": TASKS[name].summary.removeprefix("closed form: "),
        "observation": seen(spec.observation),
        "action": str(spec.action_size),
        "episode": str(spec.episode_length),
        "gradient error": gradient(name)["gradient error"],
    }


def extent(values) -> str:
    """The smallest and the largest of the values, or the value if all are equal."""
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def constants(law: np.ndarray) -> str:
    """Constants of a contact law (n, 5) with columns k_e, k_d, k_f, mu, k_h.

    If k_d is 0, the damping is k_h times the depth d."""
    if not len(law):
        return "no contact"
    ke, kd, kf, mu, kh = (extent(column) for column in law.T)
    return f"{ke}, {kh} d, {kf}, {mu}" if kd == "0" else f"{ke}, {kd}, {kf}, {mu}"


def measured(name: str) -> dict[str, str]:
    """Gradient and speed of a task."""
    found = dict.fromkeys(SPEED_COLUMNS, UNKNOWN) | speeds().get(name, {})
    return {"task": f"`{name}`"} | gradient(name) | found


def gradient(name: str) -> dict[str, str]:
    """Error and norms of the gradient, as bench/gradients/tasks.py measured them."""
    columns = ("gradient error", "environments x steps", "norm: median", "maximum")
    row = recorded("gradients/tasks").get(name)
    if row is None:
        return dict.fromkeys(columns, UNKNOWN)
    percent = f"{100 * row['worst_relative_error']:.2g} %"
    cells = (
        percent if row["ok"] else f"WRONG: {percent}",
        f"{row['environments']} x {row['horizons'][-1]}",
        number(row["norm"]["median"]),
        number(row["norm"]["max"]),
    )
    return dict(zip(columns, cells, strict=True))


@cache
def recorded(file: str) -> dict[str, Any]:
    """A result file in bench/."""
    return json.loads((ROOT / "bench" / f"{file}.json").read_text())


def number(x: float) -> str:
    """A number with two digits, or as an integer from 100 on."""
    return f"{x:,.0f}" if x >= 100 else f"{x:.2g}"


def speeds() -> dict[str, dict[str, str]]:
    """Speeds by task [env-steps/s] and the load of the machine at the start of the measurement.

    Physics is forward and backward; training is missing where it was not measured."""
    found: dict[str, dict[str, str]] = {}
    for result in (recorded(f"speed/{file}") for file in SPEEDS):
        for name, row in result["tasks"].items():
            one, four = (row[cores]["physics"][0]["env_steps_per_s"] for cores in ("1", "4"))
            cells = (one, four, row["1"]["train"]["env_steps_per_s"])
            load = f"{result['machine']['load_at_start']:.1f}"
            found[name] = dict(zip(SPEED_COLUMNS, (*map(number, cells), load), strict=True))
    four_cores = recorded("speed/particles_4")["tasks"]
    for name, row in recorded("speed/particles_1")["tasks"].items():
        one, four = (
            row["processor"]["forward_backward"],
            four_cores[name]["wall"]["forward_backward"],
        )
        load = f"{row['load']:.1f}, {four_cores[name]['load']:.1f}"
        found[name] = dict(
            zip(SPEED_COLUMNS, (number(one), number(four), UNKNOWN, load), strict=True)
        )
    return found


def markdown(rows: list[dict[str, str]]) -> str:
    """A Markdown table of rows with the same keys."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
