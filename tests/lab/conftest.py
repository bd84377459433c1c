"""Run folders as `rfo train` writes them, with made-up numbers."""

import json

import numpy as np
import pytest


@pytest.fixture
def make_run(tmp_path):
    """A function that writes a run folder of N updates and returns its path."""

    def write(name, algorithm="rfo", seed=0, returns=(None, 10.0, 20.0, 30.0), finished=True):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        config = {
            "task": {"name": "ant"},
            "algorithm": {"name": algorithm, "gamma": 0.99},
            "seed": seed,
        }
        (folder / "config.json").write_text(json.dumps(config))
        lines = [
            json.dumps(
                {
                    "update": i + 1,
                    "env_steps": 100 * (i + 1),
                    "seconds": 0.5 * (i + 1),
                    "return_mean": r,
                }
            )
            for i, r in enumerate(returns)
        ]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        if finished:
            summary = {
                "mean": float(seed),
                "std": 1.0,
                "iqm": 2.0,
                "episodes": 4,
                "returns": [1, 2, 3, 4],
            }
            protocols = {"stochastic": summary, "deterministic": summary}
            (folder / "evaluation.json").write_text(json.dumps(protocols))
        return folder

    return write


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def tick_labels():
    """A function that returns the labels of an axis's ticks."""

    def read(axis):
        axis.figure.draw_without_rendering()
        return [label.get_text() for label in axis.get_ticklabels() if label.get_text()]

    return read
