"""`rfo record`: draw the replay of a run as a film."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rfo.cli.options import RunPath
from rfo.errors import SettingError

Film = Annotated[
    Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: RUN/replay.mp4)")
]
Seconds = Annotated[
    float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: the whole replay)")
]


@dataclass(frozen=True)
class Record:
    """Draw the replay of a run as a film, without a display. The camera follows the figure."""

    run_folder: RunPath = ""
    """Run folder."""
    out: Film = None
    """File to write: .mp4, .gif, or .png for single pictures FILE-00000.png."""
    size: tuple[int, int] = (960, 540)
    """Width and height [pixels]."""
    speed: float = 1.0
    """Seconds of the task that pass in a second of the film."""
    fps: int = 30
    """Pictures a second."""
    seconds: Seconds = None
    """Length of the film [s]."""

    def run(self) -> int:
        """Draw."""
        if not self.run_folder:
            raise SettingError("name a run folder, as in `rfo record runs/...`")
        from rfo.deploy.video import record

        folder = Path(self.run_folder)
        out = folder / "replay.mp4" if self.out is None else self.out
        count = record(folder, out, self.size, self.speed, self.fps, self.seconds)
        print(f"{out}: {count} pictures, {count / self.fps:.1f} s")
        return 0
