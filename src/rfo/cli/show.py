"""`rfo show`: print the settings of an experiment."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rfo.cli.settings import Settings
from rfo.experiment.record import Experiment


@dataclass(frozen=True)
class Show(Settings):
    """Print the settings of an experiment as TOML, for `rfo train --config FILE`.

    It takes the settings that `rfo train` takes: `rfo show ant --algo sapo --critic.iterations 8`.
    """

    json: bool = False
    """Print one JSON object instead, as a run's config.json."""

    def run(self, experiment: Experiment) -> int:
        """Print."""
        print(json.dumps(experiment.to_json()) if self.json else experiment.to_toml(), end="")
        return 0
