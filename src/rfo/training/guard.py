"""What ends a run early: divergence, or the user's wish to stop."""

from __future__ import annotations

import math
import signal
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp

from rfo.algos.base import DROPPED, DROPPED_IN, NONFINITE_STEPS
from rfo.types import Array, Bool, PyTree

PATIENCE = 50
"""Updates in a row with the same trouble before a run counts as diverged."""
MOST = 0.5
"""Share of the environments, gradients or steps from which on they count as most."""
SHOWN = 3
"""Names of arrays in one message."""

HANGUP = getattr(signal, "SIGHUP", None)
"""Signal to a process whose terminal or connection is gone; Windows has none."""
STOPS = [number for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if number is not None]


def all_finite(state: PyTree) -> Bool[Array, ""]:
    """Whether every floating-point number of a training state is finite. Jittable."""
    flags = [
        jnp.all(jnp.isfinite(leaf))
        for leaf in jax.tree.leaves(state)
        if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return jnp.all(jnp.stack(flags)) if flags else jnp.array(True)


class Guard:
    """Judges the updates of one run in order, and the run at its end.

    A run diverged when its state is not finite. It also diverged when one of these lasts for
    `PATIENCE` updates: the gradient of the loss is not finite, so that nothing is learnt; half of
    the gradient through the environments or more is dropped; or half of the environments or more
    blow up once per rollout. And it diverged when most steps of its newest updates belong to
    episodes that ended non-finite; at the end this holds however short the run. A few such
    environments are contained and counted, and the run goes on.

    Args:
        horizon: control steps T of one rollout.
        episode_length: control steps of a whole episode.
        counts: what `counts` was when an earlier process stopped.
    """

    def __init__(self, horizon: int, episode_length: int, counts: Mapping[str, Any] | None = None):
        counts = counts or {}
        self._limit = MOST / horizon
        self._streaks: dict[str, int] = dict(counts.get("streaks", {}))
        # Two whole episodes, so that episodes count whether they end early or not.
        window = 2 * max(PATIENCE, -(-episode_length // horizon))
        self._lost: deque[float] = deque(counts.get("lost", ()), maxlen=window)

    @property
    def counts(self) -> dict[str, Any]:
        """What the next judgement depends on, ready for JSON."""
        return {"streaks": self._streaks, "lost": list(self._lost)}

    def judge(self, finite: bool, metrics: Mapping[str, float]) -> str | None:
        """Reason why the run diverged, or None.

        Args:
            finite: whether the state after the update is finite.
            metrics: of the update, see `rfo.algos.base.Algorithm.update`.
        """
        nonfinite, dropped = metrics["nonfinite"], metrics.get(DROPPED, 0.0)
        self._lost.append(metrics.get(NONFINITE_STEPS, 0.0))
        stuck = self._lasts("gradient", not math.isfinite(metrics["grad_norm"]))
        blind = self._lasts("dropped", dropped >= MOST)
        blown_up = self._lasts("nonfinite", nonfinite >= self._limit)
        if not finite:
            return "the training state is not finite"
        if stuck:
            return f"the gradient was not finite in any of the last {PATIENCE} updates"
        if blind:
            return (
                f"the gradient through the environment was not finite in "
                f"{names(dropped_in(metrics))} and was dropped ({dropped:.0%} of it in the last of "
                f"{PATIENCE} such updates); `rfo check-grad` checks the task by itself"
            )
        if blown_up:
            return (
                f"half of the environments or more blew up in each of the last {PATIENCE} updates "
                f"({nonfinite:.1%} of the steps in the last one were not finite)"
            )
        return self.verdict() if len(self._lost) == self._lost.maxlen else None

    def verdict(self) -> str | None:
        """Reason why the run diverged, as far as the updates judged until now tell, or None."""
        share = sum(self._lost) / max(len(self._lost), 1)
        if share <= MOST:
            return None
        return (
            f"most episodes ended because they were not finite: {min(share, 1.0):.0%} of the steps "
            f"of the last {len(self._lost)} updates belong to such episodes"
        )

    def _lasts(self, trouble: str, present: bool) -> bool:
        """Whether a trouble has been present in the last `PATIENCE` updates."""
        self._streaks[trouble] = self._streaks.get(trouble, 0) + 1 if present else 0
        return self._streaks[trouble] >= PATIENCE


def dropped_in(metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Arrays whose gradient was not finite in an update and was dropped, the worst first."""
    shares = {
        name.removeprefix(DROPPED_IN): share
        for name, share in metrics.items()
        if name.startswith(DROPPED_IN) and share > 0
    }
    return tuple(sorted(shares, key=lambda name: -shares[name]))


def names(arrays: Sequence[str]) -> str:
    """The first few names, as in "action, state.q and 3 more"."""
    *most, last = (
        arrays if len(arrays) <= SHOWN else (*arrays[:SHOWN], f"{len(arrays) - SHOWN} more")
    )
    return f"{', '.join(most)} and {last}" if most else last


class Interruption:
    """Context in which SIGINT, SIGTERM and SIGHUP ask to stop; a second one stops at once.

    Python delivers signals to the main thread only; in any other thread this changes nothing.
    SIGHUP stays ignored where it was (`nohup`).
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                if number == HANGUP and signal.getsignal(number) == signal.SIG_IGN:
                    continue
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
