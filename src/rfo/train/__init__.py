"""Training: the loop, evaluation, checkpoints and records.

The only room with clocks, disks and screens. ``rfo.train`` is also the function that trains, so the
room can be called like it."""

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """A module that is called like the library's function of its name."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        import rfo

        return rfo.__getattr__("train")(*arguments, **settings)


sys.modules[__name__].__class__ = _Room
