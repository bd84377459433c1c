"""Memory that a training needs, estimated before anything is made.

The shapes are known without computing anything: those of the training state from the algorithm's
`init`, and what a rollout keeps for its backward pass from the pullback of one control step. What
XLA says that its programs need agrees within a factor of two.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfo.errors import SettingError
from rfo.experiment.build import build

if TYPE_CHECKING:
    from rfo.algos.base import Algorithm
    from rfo.envs.batch import Batch
    from rfo.experiment.record import Experiment
    from rfo.types import PyTree

REPLAY = ("buffer", "past")
"""Fields of training states that hold earlier rollouts."""
STATES = 2
"""Copies of a training state while it is updated: the one before and the one after."""
GRADIENTS = 2
"""Copies of the networks' parameters in a step of the optimiser: gradient and direction."""
BUFFERS = 4
"""Copies of the environments' state in the physics: inputs, outputs, and the gradient of each."""
BACKWARD = 2
"""Copies of what a rollout keeps, while the backward pass works on it."""
WRITING = 3
"""Copies of a training state while its checkpoint is written: arrays, bytes, a file's bytes."""
MOST_KEPT = 500
"""Training states that one step of a rollout keeps at the very most."""
ENVIRONMENTS = "environments (--envs)"
LOWER = {
    "environments": (ENVIRONMENTS,),
    "rollout": (ENVIRONMENTS, "horizon"),
    "networks": ("network.hidden", "critic.hidden"),
    "replay": ("capacity", ENVIRONMENTS),
}
"""Settings that make a part smaller, with the option of one that is named otherwise there. A
checkpoint is a copy of the others and follows them."""


@dataclass(frozen=True)
class MemoryPlan:
    """Memory that each part of a training takes at its largest [bytes]."""

    environments: int
    """States of the environments, and the physics' buffers."""
    rollout: int
    """One rollout, with what it keeps for the backward pass."""
    networks: int
    """Networks, optimisers and gradients."""
    replay: int
    """Earlier rollouts that the algorithm learns from."""
    checkpoint: int
    """Writing the training state to a file."""

    @property
    def total(self) -> int:
        """Memory of all parts together [bytes]."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, int]:
        """The parts by name, the largest first."""
        sizes = {field.name: getattr(self, field.name) for field in fields(self)}
        return dict(sorted(sizes.items(), key=lambda part: -part[1]))

    def __str__(self) -> str:
        return ", ".join(f"{name} {gigabytes(size)}" for name, size in self.parts.items())


def plan(experiment: Experiment, seeds: int = 1) -> MemoryPlan:
    """Memory that a training takes; nothing is computed or allocated.

    Args:
        experiment: what is trained.
        seeds: runs that train together in one program.

    Raises:
        SettingError: if the experiment cannot be built.
    """
    import jax

    from rfo.envs.batch import BatchState
    from rfo.training.trainer import state_shapes

    algorithm, env = build(experiment)
    state = state_shapes(algorithm, env)
    paths = jax.tree_util.tree_leaves_with_path(state, is_leaf=lambda x: isinstance(x, BatchState))
    start = next((x for _, x in paths if isinstance(x, BatchState)), None)
    start = jax.eval_shape(env.init, jax.random.key(0)) if start is None else start
    environments = size_of(start)
    replay = sum(size_of(x) for path, x in paths if getattr(path[0], "name", None) in REPLAY)
    networks = size_of(state) - size_of([x for _, x in paths if isinstance(x, BatchState)]) - replay
    parameters = size_of(algorithm.policy(state))
    parts = MemoryPlan(
        environments=(STATES + BUFFERS) * environments,
        rollout=_rollout(algorithm, env, state, start),
        networks=STATES * networks + GRADIENTS * parameters,
        replay=STATES * replay,
        checkpoint=WRITING * size_of(state),
    )
    return MemoryPlan(**{name: seeds * size for name, size in parts.parts.items()})


def require_room(experiment: Experiment, state: PyTree, seeds: int = 1) -> None:
    """Refuse a training that exceeds this machine's memory.

    Args:
        experiment: what is trained.
        state: shapes of its training state.
        seeds: runs that train together in one program.

    Raises:
        SettingError: see `refuse_beyond`.
    """
    available = available_memory(experiment.devices)
    most = seeds * MOST_KEPT * experiment.algorithm.horizon * size_of(state)
    if available is not None and most > available:  # a plan takes a second, and is seldom needed
        refuse_beyond(plan(experiment, seeds), available)


def refuse_beyond(plan: MemoryPlan, available: int | None) -> None:
    """Refuse a plan that exceeds the machine's memory.

    Args:
        plan: of the training.
        available: memory of the machine [bytes]; None if it is unknown, which refuses nothing.

    Raises:
        SettingError: names the figure and what to lower.
    """
    if available is None or plan.total <= available:
        return
    largest = next(name for name in plan.parts if name in LOWER)
    raise SettingError(
        f"this training needs about {gigabytes(plan.total)} of memory and this machine has "
        f"{gigabytes(available)}; {largest} alone: {gigabytes(plan.parts[largest])}; "
        f"lower {' or '.join(LOWER[largest])}",
        LOWER[largest][0].partition(" ")[0],
    )


def available_memory(devices: int = 1) -> int | None:
    """Memory of the devices that train [bytes], None where the system does not tell."""
    import jax

    facts = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in facts:
        return devices * facts["bytes_limit"]
    return host_memory()


def host_memory() -> int | None:
    """Memory of this machine, or of the container that this process is in [bytes]."""
    known = [size for size in (_physical(), _container()) if size is not None]
    return min(known, default=None)


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on every system
        return None


def _container() -> int | None:
    """Limit of the container that this process is in, if there is one."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _rollout(algorithm: Algorithm, env: Batch, state: PyTree, start: PyTree) -> int:
    """Memory of T steps: what they yield, and what the backward pass needs of each [bytes]."""
    import jax

    policy = algorithm.policy(state)
    key = jax.random.key(0)
    action = jax.ShapeDtypeStruct((env.size, env.spec.action_size), "float32")

    def act(policy: Any, observation: Any) -> Any:
        return policy(observation, key)

    kept = size_of(jax.eval_shape(env.step, start, action))
    if algorithm.needs_gradient:
        kept += _residuals(env.step, start, action, rows=env.size)
        kept += _residuals(act, policy, start.observation, rows=env.size)
        kept *= BACKWARD
    return kept * (algorithm.horizon // env.stride)


def _residuals(function: Any, *arguments: Any, rows: int) -> int:
    """Memory that the pullback of a function keeps for each row of a batch [bytes]."""
    import equinox as eqx
    import jax

    pullback = eqx.filter_eval_shape(lambda *x: eqx.filter_vjp(function, *x)[1], *arguments)
    # Arrays without the leading axis B belong to the networks, which all steps share.
    return size_of([x for x in jax.tree.leaves(pullback) if getattr(x, "shape", ())[:1] == (rows,)])


def size_of(tree: PyTree) -> int:
    """Memory of the arrays of a tree, or of their shapes [bytes]."""
    import jax

    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree) if hasattr(x, "dtype"))


def gigabytes(size: int) -> str:
    """A size with its unit, as in 12.3 GB."""
    value = size / 1e9
    return f"{value:,.0f} GB" if value >= 100 else f"{value:.3g} GB"
