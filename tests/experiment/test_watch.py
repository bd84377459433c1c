"""A run that has not finished is seen by its newest checkpoint."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

import rfo
from rfo.errors import RunError
from rfo.experiment.watch import MOST, watch
from untrained import untrained

TEMPLATE = Path(rfo.__file__).parent / "cli" / "template_task.py"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr("rfo.experiment.catalogue._REGISTERED", {})
    rfo.register_task("reach", runpy.run_path(str(TEMPLATE))["Reach"])
    return untrained(tmp_path / "run", "reach", "apg")


def test_the_newest_checkpoint_is_recorded_beside_what_the_training_writes(run):
    page = watch([run.path])
    assert page == run.path / "watched" / "replay.html"
    text = page.read_text(encoding="utf-8")
    assert "<h1>reach · APG</h1>" in text and "seed 0 · after 64 steps of training" in text
    assert json.loads((page.parent / "replay.json").read_text())["frames"] == 100
    assert not (run.path / "replay.npz").exists(), "the end of the training writes its own"
    shutil.rmtree(run.path / "checkpoints")
    with pytest.raises(RunError, match="has no checkpoint yet: a training writes one every 100"):
        watch([run.path])


def test_no_more_runs_than_a_browser_draws_are_shown(tmp_path):
    for i in range(MOST + 1):
        (tmp_path / f"s{i}").mkdir()
        (tmp_path / f"s{i}" / "config.json").write_text("{}")
    with pytest.raises(RunError, match=f"these are {MOST + 1} runs: name at most {MOST}"):
        watch([tmp_path])
