"""A training that starts from the policy of another run: its networks and its normaliser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rfo.errors import SettingError
from rfo.experiment import build
from rfo.experiment.catalogue import short_name
from rfo.experiment.folder import load_state, open_run
from rfo.experiment.nested import leaves
from rfo.experiment.record import Experiment
from rfo.training import trainer
from rfo.types import PyTree

START = "start.json"
"""File of a run folder that tells from which run its policy started."""
ALIKE = (
    "network.hidden",
    "network.activation",
    "network.point_hidden",
    "network.point_features",
    "network.vector_features",
    "network.pooling",
    "flow.source_noise",
    "flow.frequencies",
    "min_log_std",
    "max_log_std",
)
"""Settings on which the meaning of a policy's weights depends. The flow's steps and solver may
differ: they integrate the same velocity field."""


@dataclass(frozen=True)
class Source:
    """The policy of a run."""

    path: Path
    experiment: Experiment
    actor: Any
    normalizer: Any
    env_steps: int

    @classmethod
    def read(cls, path: str | Path) -> Source:
        """The newest policy of a run.

        Raises:
            RunError: if there is none.
            SettingError: if the run's task is code that the user has not named before.
        """
        folder, experiment = open_run(Path(path))
        state, progress = load_state(folder, experiment)
        return cls(Path(path), experiment, state.actor, state.normalizer, progress["env_steps"])

    @property
    def record(self) -> dict[str, Any]:
        """What a run that starts here keeps of it, ready for JSON."""
        return {
            "run": str(self.path.resolve()),
            "task": short_name(self.experiment.task.name),
            "method": self.experiment.label,
            "env_steps": self.env_steps,
        }


def require_fit(experiment: Experiment, source: Source) -> None:
    """Check that a training can start from a policy; nothing is computed.

    Raises:
        SettingError: naming what differs, and the options that help.
    """
    state = trainer.state_shapes(*build.build(experiment))
    kinds = [type(actor).__name__ for actor in (source.actor, state.actor)]
    if kinds[0] != kinds[1]:
        raise SettingError(
            f"{source.path} holds a {kinds[0]}, and {experiment.label} trains a {kinds[1]}: "
            f"name a method of the same kind with --algo, such as {source.experiment.label}",
            "method",
        )
    there, here = leaves(source.experiment.algorithm), leaves(experiment.algorithm)
    other = [name for name in ALIKE if name in here and there.get(name) != here[name]]
    if other:
        told = ", ".join(f"{name} {there.get(name)} against {here[name]}" for name in other)
        options = " ".join(
            f"--{name.replace('_', '-')} {_words(there.get(name))}" for name in other
        )
        raise SettingError(
            f"the policy of {source.path} has another network: {told}; give {options}", other[0]
        )
    shapes = [
        jax.tree.map(jnp.shape, jax.tree.leaves(tree))
        for tree in (
            (source.actor, source.normalizer.mean),
            (state.actor, state.normalizer.mean),
        )
    ]
    if shapes[0] != shapes[1]:
        ours, theirs = (build.build(e)[1].spec for e in (experiment, source.experiment))
        raise SettingError(
            f"the policy of {source.path} cannot act in {ours.name}: observation "
            f"{theirs.observation} against {ours.observation}, action size {theirs.action_size} "
            f"against {ours.action_size}",
            "task",
        )


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def started(experiment: Experiment, seeds: Sequence[int], source: Source) -> trainer.Start:
    """The start of a training, with another run's policy and normaliser in each seed's state."""
    state = trainer.initial_state(*build.build(experiment), seeds)
    taken = with_policy(state, source.actor, source.normalizer, len(seeds))
    return trainer.Start(taken)


def with_policy(state: PyTree, actor: Any, normalizer: Any, seeds: int = 1) -> PyTree:
    """A training state with the weights of a policy, and its normaliser.

    Integration steps and solver are the training's own. What else the training state holds, as
    the critics, stays.

    Args:
        state: of one seed, or of several stacked along a leading axis.
        actor: policy of the same networks.
        normalizer: its normaliser.
        seeds: how many.
    """

    def shared(x: Any) -> Any:
        return x if seeds == 1 else jnp.broadcast_to(x, (seeds, *jnp.shape(x)))

    weights = [shared(x) for x in jax.tree.leaves(actor)]
    own = jax.tree.unflatten(jax.tree.structure(state.actor), weights)
    return state._replace(actor=own, normalizer=jax.tree.map(shared, normalizer))
