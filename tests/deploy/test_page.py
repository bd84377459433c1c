"""The commands and the Python of docs/deploy.md run, in their order, for an ant."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from compiled import reset
from rfo.cli import main as cli
from rfo.experiment.build import build_task
from rfo.training.record import RunFolder
from untrained import untrained

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.timeout(600)
def test_the_page_runs(tmp_path, monkeypatch):
    """In the folder that `rfo export` and `rfo record` of a finished run need."""
    run = untrained(tmp_path / "RUN", "ant", "rfo", **{"flow.steps": 1})
    task = build_task("ant")
    frames = {name: np.asarray(x) for name, x in jax.jit(task.frame)(reset(task, 0, 8)).items()}
    scene = {"task": "ant", "dt": task.spec.dt, **task.scene()}
    RunFolder.open(run.path).write_replay(scene, frames, np.zeros(8))
    monkeypatch.chdir(tmp_path)
    ran = 0
    for kind, text in BLOCK.findall((ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")):
        if kind == "python":
            exec(text, {})
            continue
        for line in text.splitlines():
            program, *arguments = shlex.split(line.partition("#")[0])
            if program == "rfo":
                assert cli.main(arguments) == 0, line
            elif program == "python":
                monkeypatch.setattr(sys, "argv", arguments)
                runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")
            else:
                assert program == "pip"
            ran += 1
    assert ran >= 8
