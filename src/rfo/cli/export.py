"""`rfo export`: write the policy of a run to a file that runs without rfo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rfo.cli.options import OwnTask, RunPath
from rfo.errors import SettingError

OutFile = Annotated[
    Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: RUN/policy.onnx)")
]


@dataclass(frozen=True)
class Export:
    """Write the policy of a run to one file that runs without rfo.

    The file maps raw observations to the actuators' controls. Its metadata describe its inputs and
    outputs. It is compared with the run's policy before it is written.
    """

    run_folder: RunPath = ""
    """Run folder; its newest checkpoint is used."""
    out: OutFile = None
    """File to write: .onnx, or .zip for StableHLO."""
    deterministic: bool = False
    """Act with noise zero; without it the noise is an input."""
    task: OwnTask = None

    def run(self) -> int:
        """Export and tell what came of it."""
        if not self.run_folder:
            raise SettingError("name a run folder, as in `rfo export runs/...`")
        from rfo.deploy.export import SAMPLES
        from rfo.experiment.run import load

        done = load(self.run_folder, task=self.task).export(self.out, self.deterministic)
        inputs = ", ".join(f"{n} {tuple(shape)}" for n, shape in done.metadata["inputs"].items())
        print(f"{done.path}: {inputs} -> {', '.join(done.metadata['outputs'])}")
        print(
            f"largest difference from the run's policy over {SAMPLES:,} observations: "
            f"{done.difference:.1e}"
        )
        return 0
