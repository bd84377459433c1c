"""Check that a task keeps the contract of `rfo.envs.base.Environment`, without compiling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.base import EnvSpec, Renderable, Step
from rfo.errors import SettingError
from rfo.types import PyTree
from rfo.view.replay import check_drawing

SIZE = 3
"""Environments of the check; no task is likely to have another size that equals this number."""
METHODS = ("spec", "reset", "observe", "step")


def check_contract(task: Any, name: str) -> None:
    """Trace a task's methods once, for three environments, and check what they return.

    Nothing is compiled or computed. An error inside a method is the task's own, and keeps its
    traceback.

    Args:
        task: what should be an `rfo.envs.base.Environment`.
        name: how the user calls it.

    Raises:
        SettingError: naming the method, the array, and its expected shape.
    """
    _Check(name)(task)


class _Check:
    """The check of one task."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, task: Any) -> None:
        for method in METHODS:
            if not hasattr(task, method):
                raise self.fault(f"it has no {method}; a task has {', '.join(METHODS)}")
        if not isinstance(task.spec, EnvSpec):
            raise self.fault(f"spec must be an rfo.EnvSpec, not {_kind(task.spec)}")
        spec = task.spec
        key = jax.eval_shape(lambda: jax.random.key(0))
        state = self.traced("reset", lambda key: task.reset(key, SIZE), key)
        self.batched("reset", "the state", state)
        observation = self.traced("observe", task.observe, state)
        self.observation("observe", spec, observation)
        action = jax.ShapeDtypeStruct((SIZE, spec.action_size), jnp.float32)
        step = self.traced("step", task.step, state, action)
        self.step(spec, step, state)
        if isinstance(task, Renderable):
            frame = self.traced("frame", task.frame, state)
            if not isinstance(frame, dict):
                raise self.fault(f"frame must return a dict of arrays by name, not {_kind(frame)}")
            self.batched("frame", "the frame", frame)
            self.drawing(spec, task.scene(), frame)

    def traced(self, method: str, function: Callable[..., Any], *arguments: Any) -> PyTree:
        """Shapes of what a method returns."""
        try:
            return jax.eval_shape(function, *arguments)
        except TypeError as error:
            if "is not a valid JAX type" in str(error):
                raise self.fault(f"{method} must return arrays only: {error}") from None
            raise

    def batched(self, method: str, what: str, tree: PyTree) -> None:
        """Every array has the leading axis B."""
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if leaf.shape[:1] != (SIZE,):
                place = what + jax.tree_util.keystr(path)
                shape = ("B", *leaf.shape[1:]) if leaf.shape else ("B",)
                raise self.fault(
                    f"{method}: {place} must have the leading axis B of the environments, as in "
                    f"{_shown(shape)}; for B = {SIZE} it has the shape {_shown(leaf.shape)}"
                )

    def observation(self, method: str, spec: EnvSpec, observation: Any) -> None:
        """An observation is as the spec says."""
        shapes = spec.observation
        if isinstance(shapes, int):
            self.array(method, "the observation", observation, (shapes,), floating=True)
            return
        if not isinstance(observation, dict) or observation.keys() != shapes.keys():
            given = observation if isinstance(observation, dict) else [_kind(observation)]
            raise self.fault(
                f"{method} must return a dict with {', '.join(shapes)}, as spec.observation says, "
                f"not {', '.join(sorted(given))}"
            )
        for key, shape in shapes.items():
            self.array(method, f"observation['{key}']", observation[key], shape, floating=True)

    def step(self, spec: EnvSpec, step: Any, state: PyTree) -> None:
        """A step returns a `Step` whose state can be stepped again."""
        if not isinstance(step, Step):
            raise self.fault(f"step must return an rfo.Step, not {_kind(step)}")
        before, after = (jax.tree_util.tree_flatten_with_path(x) for x in (state, step.state))
        if before[1] != after[1]:
            raise self.fault(
                f"step must return a state of the structure that reset returns, {before[1]}, "
                f"not {after[1]}"
            )
        for (path, old), (_, new) in zip(before[0], after[0], strict=True):
            if (old.shape, old.dtype) != (new.shape, new.dtype):
                place = f"state{jax.tree_util.keystr(path)}"
                raise self.fault(
                    f"step: {place} must have the shape {_shown(old.shape)} and the type "
                    f"{old.dtype} that reset gives it, not {_shown(new.shape)} and {new.dtype}"
                )
        self.observation("step", spec, step.observation)
        self.array("step", "reward", step.reward, (), floating=True)
        self.array("step", "terminated", step.terminated, (), floating=False)

    def drawing(self, spec: EnvSpec, scene: Any, frame: dict[str, Any]) -> None:
        """The replay can draw the scene."""
        if not isinstance(scene, dict):
            raise self.fault(f"scene must return a dict, not {_kind(scene)}")
        frames = {name: np.zeros(array.shape) for name, array in frame.items()}
        try:
            check_drawing({"task": self.name, "dt": spec.dt, **scene}, frames)
        except ValueError as error:
            raise self.fault(f"scene and frame: {error}") from None

    def array(self, method: str, what: str, array: Any, shape: tuple, floating: bool) -> None:
        """An array of a given shape behind B, of floats or of bools."""
        expected = _shown(("B", *shape))
        if not hasattr(array, "shape"):
            raise self.fault(f"{method}: {what} must be an array {expected}, not {_kind(array)}")
        if array.shape != (SIZE, *shape):
            raise self.fault(
                f"{method}: {what} must have the shape {expected}; for B = {SIZE} it has "
                f"{_shown(array.shape)}"
            )
        kind = jnp.floating if floating else jnp.bool_
        if not jnp.issubdtype(array.dtype, kind):
            wanted = "floating-point numbers" if floating else "bools"
            raise self.fault(f"{method}: {what} must hold {wanted}, not {array.dtype}")

    def fault(self, message: str) -> SettingError:
        """What is wrong, with the task's name."""
        return SettingError(f"{self.name}: {message}", "task")


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"


def _shown(shape: tuple) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
