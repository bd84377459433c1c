"""What may end a run early: divergence, and the user's wish to stop."""

from __future__ import annotations

import math
import signal
import threading
from types import FrameType

import jax
import jax.numpy as jnp

from rfo.types import Array, Bool, PyTree

PATIENCE = 50
"""Updates in a row with too many non-finite environments before a run counts as diverged."""

HANGUP = getattr(signal, "SIGHUP", None)
"""What a process gets whose terminal or connection is gone; there is none on Windows."""
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
    """Judges one run's updates in order.

    A run diverged when its state is not finite; or when for `PATIENCE` updates in a row the gradient was
    not finite, so that nothing was learnt, or half of the environments or more blew up once per
    rollout. Single ones are contained, counted and go on.

    Args:
        horizon: control steps T of one rollout.
    """

    def __init__(self, horizon: int):
        self._limit = 0.5 / horizon
        self._blown_up = 0
        self._stuck = 0

    def judge(self, finite: bool, nonfinite: float, grad_norm: float) -> str | None:
        """Reason why the run diverged, or None.

        Args:
            finite: whether the state after the update is finite.
            nonfinite: share of the update's environment steps that were contained.
            grad_norm: norm of the update's gradient before clipping.
        """
        self._blown_up = self._blown_up + 1 if nonfinite >= self._limit else 0
        self._stuck = 0 if math.isfinite(grad_norm) else self._stuck + 1
        if not finite:
            return "the training state is not finite"
        if self._stuck >= PATIENCE:
            return f"the gradient was not finite in any of the last {PATIENCE} updates"
        if self._blown_up >= PATIENCE:
            return (
                f"half of the environments or more blew up in each of the last {PATIENCE} updates "
                f"({nonfinite:.1%} of the steps in the last one were not finite)"
            )
        return None


class Interruption:
    """Context in which SIGINT, SIGTERM and SIGHUP ask to stop; a second one stops at once.

    Outside of the main thread, where Python delivers no signals, nothing is changed. SIGHUP stays
    ignored where it was (`nohup`).
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
