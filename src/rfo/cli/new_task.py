"""`rfo new-task`: write a task of your own to start from."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

import tyro

from rfo.errors import SettingError

NewFile = tyro.conf.Positional[
    Annotated[Path | None, tyro.conf.arg(metavar="FILE.py", help_behavior_hint="")]
]


@dataclass(frozen=True)
class NewTask:
    """Write a Python file with a task of your own to start from.

    The task is small and whole: a reset, a reward, a scene to draw, and two settings. Train it with
    `rfo train FILE.py:Reach`, check its gradient with `rfo check-grad FILE.py:Reach`, then change
    it.
    """

    file: NewFile = None
    """File to write, which ends in .py. It must not exist."""

    def run(self) -> int:
        """Write, and say how to go on."""
        if self.file is None or self.file.suffix != ".py":
            raise SettingError("name a Python file, as in `rfo new-task my_task.py`", "file")
        template = resources.files("rfo.cli").joinpath("template_task.py").read_text("utf-8")
        try:
            with self.file.open("x", encoding="utf-8") as file:
                file.write(template.replace("my_task.py", str(self.file)))
        except FileExistsError:
            raise SettingError(f"{self.file} exists already; name another file", "file") from None
        print(f"rfo check-grad {self.file}:Reach")
        print(f"rfo train {self.file}:Reach --steps 200_000")
        return 0
