"""`rfo list`: the tasks and methods."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rfo.experiment.catalogue import methods, tasks


@dataclass(frozen=True)
class List:
    """Show the tasks and methods that `rfo train` knows."""

    json: bool = False
    """Print one JSON object with `tasks` and `methods`, both keyed by name."""

    def run(self) -> int:
        """Print the catalogue."""
        shown = {
            "tasks": {
                name: {
                    "summary": task.summary,
                    "environments": task.environments,
                    "steps": task.steps,
                }
                for name, task in tasks().items()
            },
            "methods": {name: {"summary": method.summary} for name, method in methods().items()},
        }
        if self.json:
            print(json.dumps(shown))
            return 0
        width = max(len(name) for entries in shown.values() for name in entries)
        for kind, entries in shown.items():
            print(kind)
            for name, entry in entries.items():
                print(f"  {name:<{width}} {entry['summary']}")
        print("train with: rfo train TASK --algo METHOD")
        return 0
