"""The library's functions for a program or a notebook: train, collect, clone, make, evaluate."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfo.algos.cloning import Cloning
from rfo.errors import SettingError
from rfo.experiment import build, own
from rfo.experiment import train as training
from rfo.experiment.catalogue import is_robot, short_name
from rfo.experiment.clone import clone as clone_into
from rfo.experiment.clone import require_match
from rfo.experiment.folder import create, with_kept_robot
from rfo.experiment.record import (
    Experiment,
    TaskSettings,
    preset,
    require_positive,
    require_seed,
    scheduled,
)
from rfo.experiment.run import Run, load
from rfo.experiment.start import START, Source, require_fit, started
from rfo.training import processes
from rfo.training.collect import collect as collect_from
from rfo.training.demonstrations import Demonstrations
from rfo.training.evaluate import Evaluator, evaluation_key, shares, summarise
from rfo.training.loggers import require_wandb
from rfo.training.output import outliving_output
from rfo.training.record import default_path
from rfo.training.screen import Phase

if TYPE_CHECKING:
    from rfo.algos.base import Policy
    from rfo.envs.base import Environment
    from rfo.envs.batch import Batch


def train(
    task: str | Experiment,
    method: str = "rfo",
    *,
    out: str | Path | None = None,
    wandb: str | None = None,
    start: str | Path | Run | None = None,
    **settings: Any,
) -> Run:
    """Train a policy, evaluate it, and write a replay.

    Ctrl-C saves a checkpoint and ends the training; `Run.resume` goes on from it.

    Args:
        task: name of a known task, an MJCF file, or a task of your own as ``my_task.py:Reach``; or
            a whole `Experiment`.
        method: name of a known method; not used with an experiment.
        out: run folder to make; by default one under ``runs/``.
        wandb: project of Weights & Biases to send the metrics to as well.
        start: a run, or its folder, whose policy and normaliser the training starts from, say a
            clone's. All else, as the critics, begins anew.
        settings: what differs from the preset, as ``steps=4096``, ``seed=3``, ``horizon=16``, or by
            dotted name as ``**{"critic.iterations": 8, "task.gain": 2.0}``.

    Returns:
        the run, whose `Run.status` tells how it ended.

    Raises:
        SettingError: for unknown names, or values that cannot work, before anything is made.
        RunError: if the folder exists already, or the disk refuses.

    Example:
        >>> import rfo
        >>> run = rfo.train("lqr", "apg", steps=64, environments=4, horizon=4, out="lqr_run")
        >>> run.experiment.seed, run.path.name
        (0, 'lqr_run')
    """
    experiment = preset(task, method) if isinstance(task, str) else task
    (run,) = train_seeds(experiment.edited(settings), 1, out=out, wandb=wandb, start=start)
    return run


def train_seeds(
    experiment: Experiment,
    seeds: int,
    *,
    out: str | Path | None = None,
    wandb: str | None = None,
    start: str | Path | Run | None = None,
) -> list[Run]:
    """Train several seeds of an experiment in one compiled program.

    Args:
        experiment: what to train; its seed is the first.
        seeds: how many, counted up.
        out: the run folder, or with several seeds the folder around theirs.
        wandb: project of Weights & Biases to send the metrics to as well.
        start: a run, or its folder, whose policy and normaliser all seeds start from.

    Raises:
        SettingError: for settings that cannot work, before anything is made.
        RunError: if a folder exists already, or the disk refuses.

    Example:
        >>> import rfo
        >>> experiment = rfo.preset("lqr", "apg", steps=64, environments=4, horizon=4)
        >>> [run.path.name for run in rfo.train_seeds(experiment, 2, out="both")]
        ['s0', 's1']
    """
    require_positive(seeds=seeds)
    require_seed(experiment.seed + seeds - 1)
    first = scheduled(_located(experiment))
    training.refuse_misfit(first, seeds)
    several = [dataclasses.replace(first, seed=first.seed + i) for i in range(seeds)]
    source = None if start is None else _source(start)
    if source is not None:
        require_fit(first, source)
    if wandb is not None:
        require_wandb()
    paths = [processes.own_place(_path(run, Path(out) if out else None, seeds)) for run in several]
    if own.is_own(first.task.name):
        own.trust(first.task.name)
    folders = create(several, paths)
    if wandb is not None:
        for folder in folders:
            folder.mirror(wandb)
    _tell_robot(first)
    begun = None
    if source is not None:
        for folder in folders:
            folder.write_json(START, source.record)
        begun = started(first, [run.seed for run in several], source)
    training.train(several, folders, begun)
    return [
        Run(folder.path, with_kept_robot(folder, run))
        for folder, run in zip(folders, several, strict=True)
    ]


def collect(
    run: str | Path | Run,
    episodes: int = 64,
    *,
    deterministic: bool = False,
    seed: int = 0,
    out: str | Path | None = None,
) -> Demonstrations:
    """Episodes of a run's newest policy, as demonstrations.

    Args:
        run: the run, or its folder.
        episodes: how many, rounded up to equal shares of the environments.
        deterministic: act with noise zero.
        seed: seed of the episodes.
        out: ``.npz`` file to write as well, see `rfo.training.demonstrations`.

    Raises:
        SettingError: for values out of range.
        RunError: if the run has no checkpoint, or no episode stayed finite.

    Example:
        >>> import rfo
        >>> run = rfo.train("lqr", "apg", steps=64, environments=4, horizon=4, out="expert")
        >>> rfo.collect(run, episodes=4).action.shape
        (256, 1)
    """
    require_seed(seed)
    require_positive(episodes=episodes)
    source = run if isinstance(run, Run) else load(run)
    experiment = source.experiment
    size, per_environment = shares(episodes, experiment.environments)
    by_steps = {"environments": size, "chunk": 1, "executed": None}
    _, env = build.build(experiment.edited(by_steps))
    chunk, executed = experiment.chunk, experiment.executed or experiment.chunk
    with Phase(f"{experiment.title}: collecting {size * per_environment} episodes"):
        key = evaluation_key(seed, deterministic)
        demos = collect_from(
            env, source.policy, key, per_environment, chunk, executed, deterministic
        )
    demos = dataclasses.replace(demos, task=short_name(experiment.task.name))
    if out is not None:
        demos.save(out)
    return demos


def clone(
    task: str | Experiment,
    data: Demonstrations | str | Path | Sequence[str | Path],
    method: str = "rfo",
    *,
    out: str | Path | None = None,
    updates: int = 5000,
    batch: int = 256,
    **settings: Any,
) -> Run:
    """Fit a method's policy to demonstrations, evaluate it, and write a replay.

    The run is one of the method before its first update. `train` starts from it with ``start=``.

    Args:
        task: what the demonstrations are of; as in `train`.
        data: demonstrations, or files of them, which are joined.
        method: whose policy it is: a flow is fitted by flow matching, a Gaussian, as ``sapo`` and
            ``shac`` have, by maximum likelihood.
        out: run folder to make; by default one under ``runs/``.
        updates: gradient steps.
        batch: decisions that are drawn for each of them.
        settings: what differs from the preset, as in `train`.

    Raises:
        SettingError: for data that do not fit the task, unknown names, or values that cannot work.
        RunError: if the folder exists already, or the loss is not finite.

    Example:
        >>> import numpy, rfo
        >>> start = numpy.arange(640) % 64 == 0
        >>> seen = numpy.random.default_rng(0).normal(size=(640, 2))
        >>> demos = rfo.Demonstrations(seen, -0.1 * seen[:, :1], start, numpy.zeros(10), "lqr")
        >>> run = rfo.clone("lqr", demos, "apg", updates=10, environments=4, out="clone")
        >>> small = {"steps": 64, "environments": 4, "horizon": 4, "out": "tuned"}
        >>> rfo.train("lqr", "apg", start=run, **small).status
        'finished'
    """
    experiment = preset(task, method) if isinstance(task, str) else task
    experiment = scheduled(_located(experiment.edited(settings)))
    files, demos = _demonstrations(data)
    algorithm: Any = experiment.algorithm
    cloning = Cloning(algorithm.optimiser, updates, batch)
    training.refuse_misfit(experiment)
    require_match(demos, build.build(experiment)[1].spec, experiment.chunk)
    path = _path(experiment, Path(out) if out else None, 1)
    if own.is_own(experiment.task.name):
        own.trust(experiment.task.name)
    (folder,) = create([experiment], [path])
    try:
        experiment = with_kept_robot(folder, experiment)
        with outliving_output():
            clone_into(experiment, folder, demos, cloning, files)
    finally:
        folder.unlock()
    return Run(path, experiment)


def make(
    task: str | Environment,
    environments: int = 64,
    *,
    chunk: int = 1,
    threads: int | None = None,
    **options: Any,
) -> Batch:
    """Environments of a task in parallel, with automatic reset.

    Args:
        task: name of a known task, an MJCF file, a task of your own as ``my_task.py:Reach``; or the
            task itself.
        environments: how many, B.
        chunk: actions of one decision; with more than one, actions have the shape (B, chunk A).
        threads: CPU threads of the physics.
        options: the task's own settings.

    Returns:
        an `rfo.Batch`, or an `rfo.ChunkedBatch` for a `chunk` above 1.

    Raises:
        SettingError: for an unknown task or option, values out of range, or JAX's double precision
            where the physics has none.

    Example:
        >>> import jax, rfo
        >>> env = rfo.make("lqr", environments=4)
        >>> state = env.init(jax.random.key(0))
        >>> state = env.step(state, jax.numpy.zeros((4, env.spec.action_size))).state
        >>> state.observation.shape
        (4, 2)
    """
    require_positive(environments=environments, chunk=chunk)
    settings = TaskSettings(task, options) if isinstance(task, str) else None
    built: Any = build.build_task(settings, threads) if settings else task
    build.refuse_double(built)
    return build.batched(built, environments, chunk, gamma=0.99)


def evaluate(
    policy: Policy,
    task: str | Batch,
    episodes: int = 128,
    *,
    deterministic: bool = False,
    seed: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate any policy on a task, with as many episodes in every environment.

    Args:
        policy: a function of the observations (B, O) and a key, which is None for a deterministic
            evaluation; it returns actions (B, A). `Run.policy` is one.
        task: name of a task, or environments that `make` made.
        episodes: how many, rounded up to equal shares of the environments.
        deterministic: act without a key.
        seed: seed of the evaluation's episodes.
        options: the task's own settings, for a task that is named.

    Returns:
        ``mean``, ``std``, ``iqm``, ``interval`` (95 %, of the mean), ``episodes``, ``returns`` and
        more, see `rfo.training.evaluate.summarise`.

    Raises:
        SettingError: for an unknown task, or values out of range.

    Example:
        >>> import jax, rfo
        >>> def rest(observation, key):
        ...     return jax.numpy.zeros((len(observation), 1))
        >>> rfo.evaluate(rest, "lqr", episodes=4)["episodes"]
        4
    """
    require_seed(seed)
    require_positive(episodes=episodes)
    env = make(task, episodes, **options) if isinstance(task, str) else task
    size, per_environment = shares(episodes, env.size)
    evaluator = Evaluator(env if size == env.size else env.resized(size), deterministic)
    outcome = evaluator(policy, evaluation_key(seed, deterministic), per_environment)
    return summarise(outcome, deterministic)


def _source(start: str | Path | Run) -> Source:
    return Source.read(start.path if isinstance(start, Run) else start)


def _demonstrations(
    data: Demonstrations | str | Path | Sequence[str | Path],
) -> tuple[list[Path], Demonstrations]:
    """Files of demonstrations, and all that they hold."""
    if isinstance(data, Demonstrations):
        return [], data
    files = [Path(file) for file in ([data] if isinstance(data, str | Path) else data)]
    if not files:
        raise SettingError("name the demonstrations, as in --data demos.npz", "data")
    return files, Demonstrations.joined([Demonstrations.load(file) for file in files])


def _tell_robot(experiment: Experiment) -> None:
    """Print what in a robot's file is read differently than in MuJoCo, and the number of substeps
    that its physics chose, if none was asked for."""
    if not is_robot(experiment.task.name):
        return
    task: Any = build.build(experiment)[1].task
    lines = list(task.simulator.model.notes)
    if "substeps" not in experiment.task.options:
        lines.append(
            f"{task.simulator.substeps} substeps of the physics per control step of "
            f"{task.spec.dt:.3g} s, chosen from the model; --substeps sets others"
        )
    for line in lines:
        print(f"{experiment.title}: {line}", file=sys.stderr)


def _located(experiment: Experiment) -> Experiment:
    """The experiment with its task's name valid in any folder, if that is a file of the user's."""
    if not own.is_own(experiment.task.name):
        return experiment
    return experiment.edited({"task.name": own.located(experiment.task.name)})


def _path(run: Experiment, out: Path | None, seeds: int) -> Path:
    if out is None:
        return default_path(run.task.name.replace(":", "-"), run.label, run.seed)
    return out if seeds == 1 else out / f"s{run.seed}"
