"""Replays to look at: of a finished run, of one in training, of several side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

from rfo.envs.base import Renderable
from rfo.errors import RunError
from rfo.experiment.build import build, nominal
from rfo.experiment.finish import drawing
from rfo.experiment.folder import CONFIG, load_state, read_experiment
from rfo.experiment.record import Experiment
from rfo.training import checkpoint
from rfo.training.evaluate import Evaluator, evaluation_key
from rfo.training.record import RunFolder
from rfo.training.screen import Phase
from rfo.view.grid import write_grid
from rfo.view.replay import fields_of, fill, replace, template

PAGE, GRID = "replay.html", "replays.html"
WATCHED = "watched"
"""Folder in a run folder for what is recorded before the run has finished."""
MOST = 12
"""Replays on one page: a browser draws no more than some sixteen at a time."""


def watch(paths: Sequence[Path], task: str | None = None, out: Path | None = None) -> Path:
    """Write a page with the replay of a run, or with those of several side by side.

    A finished run has a replay. Of any other one, an episode of the newest checkpoint is recorded
    first, with noise zero; a training that goes on meanwhile is not disturbed.

    Args:
        paths: run folders, or folders of them.
        task: where the code of their task is, for a task of the user's own that has moved.
        out: page to write; by default in the run folder, or in the folder around several.

    Returns:
        the page.

    Raises:
        RunError: if there is no run, nothing to draw, or a damaged replay.
    """
    folders = [RunFolder.open(path) for path in _run_folders(paths)]
    places = [_replay(folder, task) for folder in folders]
    with _readable(paths):
        if len(folders) == 1:
            page = out or places[0] / PAGE
            replace(page, fill(template(), fields_of(places[0], folders[0].path)))
            return page
        around = Path(os.path.commonpath([folder.path.resolve() for folder in folders]))
        return write_grid(
            out or around / GRID,
            [fields_of(*pair) for pair in zip(places, (f.path for f in folders), strict=True)],
        )


def _run_folders(paths: Sequence[Path]) -> list[Path]:
    """The run folders among the paths and below those that are folders of runs."""
    found: dict[Path, None] = {}
    for path in paths:
        inside = [] if (path / CONFIG).exists() else sorted(path.rglob(CONFIG))
        found |= dict.fromkeys([config.parent for config in inside] or [path])
    if len(found) > MOST:
        raise RunError(f"these are {len(found)} runs: name at most {MOST} to see side by side")
    return list(found)


@contextmanager
def _readable(paths: Sequence[Path]) -> Iterator[None]:
    try:
        yield
    except (ValueError, EOFError, BadZipFile) as error:
        names = ", ".join(map(str, paths))
        raise RunError(f"the replay of {names} is damaged: {error}") from None


def _replay(folder: RunFolder, task: str | None) -> Path:
    """Folder that holds a replay of a run: its own, or the one of its newest checkpoint."""
    if (folder.path / "replay.npz").exists():
        return folder.path
    experiment = read_experiment(folder, task=task)
    _, env = build(nominal(experiment))
    if not isinstance(env.task, Renderable):
        raise RunError(f"{folder.path} holds no replay: {experiment.task.name} cannot be drawn")
    if not checkpoint.newest_first(folder.checkpoints):
        raise RunError(
            f"{folder.path} has no checkpoint yet: a training writes one every "
            f"{experiment.checkpoint_every} updates"
        )
    return _record(folder, experiment)


def _record(folder: RunFolder, experiment: Experiment) -> Path:
    """Record an episode of the newest checkpoint's policy."""
    algorithm, env = build(nominal(experiment))
    state, progress = load_state(folder, experiment)
    with Phase(f"{experiment.title}: recording an episode"):
        key = evaluation_key(experiment.seed, deterministic=True)
        episode = Evaluator(env.resized(1), True)(algorithm.policy(state), key, 1)
    place = folder.inside(WATCHED)
    place.mkdir(exist_ok=True)
    about = drawing(experiment, env) | {"env_steps": progress["env_steps"]}
    RunFolder(place).write_replay(about, episode.frames, episode.reward)
    return place
