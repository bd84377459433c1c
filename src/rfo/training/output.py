"""Standard output and standard error that outlive their readers.

The reader goes away when a training is piped into `head`, or when a connection breaks. Nothing that
matters is lost: what was trained is in the run folder.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

GONE = (errno.EPIPE, errno.EIO)
"""Errors of a write whose pipe has no reader, or whose terminal has been closed."""


class Outliving:
    """A text stream that drops what is written once its reader is gone.

    Args:
        stream: where text goes; None, as Python has it for a closed descriptor, for nowhere.
    """

    def __init__(self, stream: Any):
        self._stream = stream if stream is not None else open(os.devnull, "w")  # noqa: SIM115

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self, error: OSError) -> None:
        if error.errno not in GONE:
            raise error
        # what the stream still holds would fail again at the end of the process
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def outliving_output() -> Iterator[None]:
    """Context in which output is dropped once its reader is gone."""
    before = sys.stdout, sys.stderr
    ours = [s if isinstance(s, Outliving) else Outliving(s) for s in before]
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        for stream in ours:
            stream.flush()
        sys.stdout, sys.stderr = before
