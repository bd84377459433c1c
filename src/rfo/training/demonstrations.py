"""Demonstrations: whole episodes that someone acted in, as arrays and as an ``.npz`` file.

The file has these arrays, of N control steps in E episodes, one episode after the other:

==================  ===================================================================
observation         (N, O) what was seen before each step, as the task gives it; a task
                    that is seen by several arrays has ``observation/NAME`` for each
action              (N, A) what was done, in [-1, 1]
start               (N,) bool, whether an episode starts at this step
returns             (E,) undiscounted return of each episode
task                name of the task, "" if unknown
==================  ===================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax
import numpy as np

from rfo.errors import SettingError
from rfo.training.record import write_atomically

PREFIX = "observation/"


@dataclass(frozen=True, eq=False, repr=False)
class Demonstrations:
    """Whole episodes of some policy, E of them with N control steps in all.

    Raises:
        SettingError: for arrays that do not belong together, numbers that are not finite, or
            actions out of [-1, 1].

    Example:
        >>> import numpy as np, rfo
        >>> seen, done = np.zeros((6, 2)), np.zeros((6, 1))
        >>> start = np.array([True, False, False, True, False, False])
        >>> demos = rfo.Demonstrations(seen, done, start, returns=np.zeros(2), task="lqr")
        >>> demos.save("demos.npz")
        >>> rfo.Demonstrations.load("demos.npz")
        <rfo.Demonstrations of lqr: 2 episodes, 6 steps, mean return 0>
    """

    observation: np.ndarray | dict[str, np.ndarray]
    """(N, O), or arrays (N, n) and (N, P, 3) by name; raw, before each step."""
    action: np.ndarray
    """(N, A) in [-1, 1]."""
    start: np.ndarray
    """(N,) whether an episode starts at this step."""
    returns: np.ndarray
    """(E,) undiscounted return of each episode [reward]."""
    task: str = ""
    """Name of the task, if it is known."""

    def __post_init__(self) -> None:
        arrays = {**_named(self.observation), "action": self.action, "start": self.start}
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1 or not len(self.action):
            raise _fault(f"arrays must have the same length, at least 1, not {lengths}")
        if not self.start[0] or int(self.start.sum()) != len(self.returns):
            raise _fault(
                f"start must be true at the first step, and once for each of the "
                f"{len(self.returns)} returns, not {int(self.start.sum())} times"
            )
        for name, array in {**arrays, "returns": self.returns}.items():
            if not np.isfinite(array).all():
                raise _fault(f"{name} holds numbers that are not finite")
        largest = float(np.abs(self.action).max())
        if self.action.ndim != 2 or largest > 1 + 1e-5:
            raise _fault(
                f"action must have the shape (N, A) and lie in [-1, 1], not {self.action.shape} "
                f"up to {largest:.3g}"
            )

    def __repr__(self) -> str:
        of = f" of {self.task}" if self.task else ""
        return (
            f"<rfo.Demonstrations{of}: {len(self.returns)} episodes, {len(self.action)} steps, "
            f"mean return {self.returns.mean():.4g}>"
        )

    @property
    def episode(self) -> np.ndarray:
        """(N,) number of the episode of each step, from 0."""
        return np.cumsum(self.start) - 1

    def save(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            OSError: if it cannot be written.
        """
        arrays = {**_named(self.observation), "action": self.action, "returns": self.returns}
        floats: dict[str, Any] = {k: np.asarray(x, np.float32) for k, x in arrays.items()}
        content = BytesIO()
        np.savez_compressed(content, start=np.asarray(self.start, bool), task=self.task, **floats)
        write_atomically(Path(path), content.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> Demonstrations:
        """Read a file.

        Raises:
            SettingError: if it is missing, or not such a file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except FileNotFoundError:
            raise _fault(f"no file {path}; `rfo collect RUN --out {path}` makes one") from None
        except (OSError, ValueError, BadZipFile, EOFError) as error:
            raise _fault(f"{path} is not an .npz file: {error}") from None
        parts = {k.removeprefix(PREFIX): x for k, x in arrays.items() if k.startswith(PREFIX)}
        missing = {"action", "start", "returns"} - set(arrays)
        missing |= set() if parts else {"observation"} - set(arrays)
        if missing:
            raise _fault(f"{path} lacks {', '.join(sorted(missing))}")
        observation = parts or arrays["observation"]
        task = str(arrays.get("task", ""))
        try:
            return cls(observation, arrays["action"], arrays["start"], arrays["returns"], task)
        except SettingError as error:
            raise _fault(f"{path}: {error}") from None

    @classmethod
    def of_episodes(
        cls, episodes: Sequence[tuple[Any, np.ndarray, Any]], task: str = ""
    ) -> Demonstrations:
        """Whole episodes, one after the other.

        Args:
            episodes: observations before the steps, actions, and the return of each.
            task: name of the task, if it is known.
        """
        seen, action, returns = zip(*episodes, strict=True)
        lengths = [len(each) for each in action]
        start = np.zeros(sum(lengths), bool)
        start[np.cumsum([0, *lengths[:-1]])] = True
        observation = jax.tree.map(lambda *x: np.concatenate(x), *seen)
        return cls(observation, np.concatenate(action), start, np.array(returns), task)

    @classmethod
    def joined(cls, parts: Sequence[Demonstrations]) -> Demonstrations:
        """Several as one, in order; the task is the first one's.

        Raises:
            SettingError: if their observations or actions have other shapes.
        """
        kinds = [(jax.tree.map(_row, p.observation), _row(p.action)) for p in parts]
        for kind in kinds[1:]:
            if kind != kinds[0]:
                raise _fault(f"demonstrations of other shapes cannot be joined: {kinds[0]}, {kind}")
        observation = jax.tree.map(lambda *x: np.concatenate(x), *(p.observation for p in parts))
        action, start, returns = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("action", "start", "returns")
        )
        return cls(observation, action, start, returns, parts[0].task)

    def chunked(self, chunk: int) -> tuple[np.ndarray, np.ndarray]:
        """Every run of `chunk` actions inside of an episode.

        Returns:
            steps at which they begin, (n,), and the actions, (n, chunk A).
        """
        last = np.arange(len(self.action)) + chunk - 1
        inside = last < len(self.action)
        first = np.flatnonzero(inside)
        first = first[self.episode[first] == self.episode[last[inside]]]
        actions = self.action[first[:, None] + np.arange(chunk)]
        return first, actions.reshape(len(first), chunk * self.action.shape[1])


def _row(array: np.ndarray) -> tuple[int, ...]:
    return array.shape[1:]


def _named(observation: np.ndarray | dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of the observation by their names in the file."""
    if isinstance(observation, dict):
        return {f"{PREFIX}{name}": array for name, array in observation.items()}
    return {"observation": observation}


def _fault(message: str) -> SettingError:
    return SettingError(message, "data")
