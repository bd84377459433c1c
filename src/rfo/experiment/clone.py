"""Cloning a policy into a run folder: a training before its first update, its policy fitted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rfo.algos.cloning import Cloning, Rows, cloning_loss, latents, stretch
from rfo.envs.base import EnvSpec
from rfo.errors import RunError, SettingError
from rfo.experiment import build
from rfo.experiment.finish import finish
from rfo.experiment.record import Experiment
from rfo.experiment.start import with_policy
from rfo.policies.normalize import Normalizer
from rfo.training import checkpoint, trainer
from rfo.training.demonstrations import Demonstrations
from rfo.training.record import RunFolder
from rfo.training.screen import Phase
from rfo.types import PyTree

CLONING = "cloning.json"
"""File of a run folder that tells to what its policy was fitted, and how well."""
REPORTS = 10
"""How often the loss is reported."""
HELD_OUT = 10
"""Every tenth episode is held out, if there are so many: its loss shows overfitting."""


def require_match(data: Demonstrations, spec: EnvSpec, chunk: int) -> None:
    """Check that demonstrations belong to a task.

    Raises:
        SettingError: if sizes differ, or no episode is as long as a chunk.
    """
    seen = jax.tree.map(lambda x: x.shape[1:], data.observation)
    shape = spec.observation
    wanted = (shape,) if isinstance(shape, int) else {k: tuple(shape[k]) for k in shape}
    size = spec.action_size // chunk
    if seen != wanted or data.action.shape[1] != size:
        raise SettingError(
            f"{spec.name} has observations of the shape {wanted} and {size} actions; the data of "
            f"{data.task or 'an unknown task'} have {seen} and {data.action.shape[1]}",
            "data",
        )
    if not len(data.chunked(chunk)[0]):
        raise SettingError(f"no episode of the data has {chunk} steps, as a chunk needs", "chunk")


def fit(experiment: Experiment, data: Demonstrations, cloning: Cloning) -> tuple[PyTree, dict]:
    """The training state of an experiment with its policy fitted, and what came of it.

    Raises:
        RunError: if the loss is not finite.
    """
    algorithm, env = build.build(experiment)
    state = trainer.initial_state(algorithm, env, [experiment.seed])
    seen = jax.tree.map(jnp.asarray, data.observation)
    normalizer = Normalizer.init(env.spec.observation).updated(seen)
    first, action = data.chunked(experiment.chunk)
    seen = jax.tree.map(lambda x: x[first], normalizer(seen))
    rows = Rows(seen, latents(jnp.asarray(action, jnp.float32)))
    out = np.zeros(len(first), bool)
    if len(data.returns) >= HELD_OUT:
        out = data.episode[first] % HELD_OUT == HELD_OUT - 1
    learnt, held_out = (jax.tree.map(lambda x, m=m: x[m], rows) for m in (~out, out))

    key, loss_key = jax.random.split(jax.random.fold_in(jax.random.key(experiment.seed), 1))
    judge = jax.jit(cloning_loss)
    steps = max(1, cloning.updates // REPORTS)
    run, done, curve = stretch(cloning, steps), 0, []
    fitted = cloning.init(state.actor, key)
    with Phase(f"{experiment.title}: cloning, compiling") as phase:
        while done < cloning.updates:
            fitted, loss = run(fitted, learnt)
            done += steps
            line = {"updates": done, "loss": float(loss)}
            if out.any():
                line["held_out"] = float(judge(fitted.actor, held_out, loss_key))
            curve.append(line)
            if not np.isfinite(line["loss"]):
                raise RunError(f"the cloning loss is not finite after {done} updates")
            told = ", ".join(f"{k.replace('_', ' ')} {x:.4g}" for k, x in line.items())
            phase.now(f"{experiment.title}: cloning, {told}")
    report = {
        "episodes": len(data.returns),
        "steps": len(data.action),
        "mean_return": float(data.returns.mean()),
        "batch": cloning.batch,
        "curve": curve,
    }
    return with_policy(state, fitted.actor, normalizer), report


def clone(
    experiment: Experiment,
    folder: RunFolder,
    data: Demonstrations,
    cloning: Cloning,
    files: Sequence[Path] = (),
) -> None:
    """Fit a policy and leave a finished run in a folder: policy, evaluation, replay.

    Raises:
        RunError: if the loss is not finite.
    """
    began = time.perf_counter()
    state, report = fit(experiment, data, cloning)
    folder.write_json(CLONING, {"data": [str(file.resolve()) for file in files], **report})
    progress = {**trainer.UNTRAINED, "env_steps": 0, "seconds": time.perf_counter() - began}
    checkpoint.save(folder.inside("checkpoints") / checkpoint.FINAL, state, progress)
    finish([(experiment, folder, state)], trained=False)
