"""Which robot files load, and how far they are from MuJoCo: `python bench/robots/table.py FOLDER`.

FOLDER holds packages side by side, as unpacked wheels or as an installation does. Every MJCF file
in them that the mujoco package compiles and that has a joint becomes a row. Without a folder, the
installed packages are searched. Writes results.json and the table in README.md beside this file.
"""

from __future__ import annotations

import json
import math
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import jax
import mujoco
from judge import judge

from rfo.errors import SettingError
from rfo.physics.mjcf import load

PACKAGES = ("gymnasium", "gymnasium_robotics", "dm_control", "brax", "mjlab")
OUTPUT = Path(__file__).with_name("results.json")
README = Path(__file__).with_name("README.md")
MARK = "<!-- results -->"
COLUMNS = ("mass", "acceleration", "position", "rest")


def main(folders: list[str]) -> None:
    """Load every file, then judge them, the smallest first; write the results after each."""
    jax.config.update("jax_enable_x64", True)
    mujoco.set_mju_user_warning(lambda _: None)
    roots = [Path(folder) for folder in folders] or [Path(sysconfig.get_paths()["purelib"])]
    rows, models = [], []
    for name, path in jointed(roots):
        try:
            models.append((len(rows), path, load(path)))
            rows.append({"file": name})
        except SettingError as error:
            rows.append({"file": name, "refused": str(error)})
    write(rows)
    for number, path, model in sorted(models, key=lambda x: x[2].nv + len(x[2].pairs.link)):
        print(rows[number]["file"], flush=True)
        found = judge(path, model)
        finite = {key: value for key, value in found.items() if math.isfinite(value)}
        rows[number] |= {key: float(f"{value:.2g}") for key, value in finite.items()}
        write(rows)


def write(rows: list[dict]) -> None:
    """Save what is known, and the table of it."""
    OUTPUT.write_text(json.dumps(rows, indent=1) + "\n")
    text = README.read_text().split(MARK)[0]
    README.write_text(f"{text}{MARK}\n\n{table(rows)}")


def jointed(roots: list[Path]) -> Iterator[tuple[str, Path]]:
    """Name and path of every file that mujoco compiles to a model with joints."""
    for root in roots:
        for path in sorted(p for package in PACKAGES for p in root.glob(f"**/{package}/**/*.xml")):
            name = str(path.relative_to(root))
            name = name[name.index("/") + 1 :] if name.count("/") else name
            if "<mujoco" not in path.read_text(errors="replace"):
                continue
            try:
                m = mujoco.MjModel.from_xml_path(str(path))
            except ValueError:
                continue
            if m.njnt:
                yield name, path


def table(rows: list[dict]) -> str:
    """The results as Markdown."""
    loads = [found for found in rows if "refused" not in found]
    share = 100 * len(loads) / len(rows)
    lines = [
        f"{len(loads)} of {len(rows)} files load ({share:.0f} %).",
        "",
        "| file | mass matrix | acceleration | position | rest |",
        "|---|---|---|---|---|",
    ]
    for found in loads:
        numbers = " | ".join(f"{found[key]:.1g}" if key in found else "" for key in COLUMNS)
        lines.append(f"| {found['file']} | {numbers} |")
    lines += ["", "| file | refused |", "|---|---|"]
    lines += [f"| {found['file']} | {found['refused']} |" for found in rows if "refused" in found]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
