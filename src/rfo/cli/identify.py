"""`rfo identify`: fit a robot's constants to a recording of its motion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rfo.cli.options import Threads
from rfo.errors import SettingError
from rfo.experiment.catalogue import is_robot

Robot = tyro.conf.Positional[
    Annotated[str, tyro.conf.arg(metavar="ROBOT.xml", help_behavior_hint="")]
]
Picture = Annotated[
    Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")
]


@dataclass(frozen=True)
class Identify:
    """Fit a robot's constants to a recording of its motion, by the gradient of the physics."""

    robot: Robot = ""
    """MJCF file; its constants are the first guess."""
    data: str = ""
    """Recording: .npz or .csv with qpos, qvel, ctrl as MuJoCo has them, and dt or time."""
    fit: tuple[str, ...] = ()
    """What to fit, as in body.mass, joint.damping or body.mass.torso."""
    bounds: tuple[float, float] = (0.1, 10.0)
    """Smallest and largest factor on a constant of the file."""
    window: int = 50
    """Rows of the recording that are simulated from one start."""
    starts: int = 3
    """Optimisations from different constants, the first from the file's."""
    seed: int = 0
    """Draws the other starts."""
    out: Picture = None
    """Picture of fit and residual to write: .png, .svg or .pdf."""
    threads: Threads = None
    json: bool = False
    """Print one JSON object with the constants, their intervals and the noise."""

    def run(self) -> int:
        """Fit and print."""
        if not self.robot or not self.data:
            raise SettingError(
                "name a robot and a recording, as in `rfo identify robot.xml --data log.npz --fit "
                "body.mass`"
            )
        if not is_robot(self.robot):
            raise SettingError(
                "only the constants of rigid robots can be identified: name an MJCF file, a path "
                f"that ends in .xml, not {self.robot}"
            )
        from rfo.deploy.identify import identify
        from rfo.training.record import plain
        from rfo.training.screen import Phase

        with Phase(f"{Path(self.robot).name}: compiling and fitting"):
            found = identify(
                self.robot,
                self.data,
                self.fit,
                bounds=self.bounds,
                window=self.window,
                starts=self.starts,
                seed=self.seed,
                threads=self.threads,
            )
        if self.out is not None:
            found.draw(self.out)
        if self.json:
            constants = [constant._asdict() for constant in found.constants]
            noise = dict(zip(found.names, found.noise, strict=True))
            print(json.dumps(plain({"constants": constants, "noise": noise, "costs": found.costs})))
        else:
            print(found)
        return 0
