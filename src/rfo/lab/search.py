"""Searches for good settings, read from TOML files such as this one.

task = "hopper"             # or "my_task.py:Reach"
method = "rfo_fixed"        # default: "rfo"
steps = 262144              # of every training
trials = 24
seeds = 3                   # of each trial, which train as one program
first_seed = 100            # default: 0
prune = false               # default: true, ends trials whose learning curve lags behind the others
sampler = "random"          # default: "tpe"
storage = "postgresql://host/name"   # default: a journal in the sweep's folder
settings = {environments = 32}       # of all trials

[space]                     # names as `rfo show` prints them
c_past = {low = 0.01, high = 1.0, log = true}
critic.iterations = {low = 4, high = 16, step = 4}
flow.steps = [2, 4, 8]
network.hidden = [[64, 64], [128, 128, 128]]
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from rfo.errors import SettingError, require_known
from rfo.experiment.nested import leaves
from rfo.experiment.record import Experiment, preset
from rfo.lab.entries import entry, read_toml, refuse_unknown, seed_numbers
from rfo.lab.suite import Cell

ENTRIES = (
    "task",
    "method",
    "steps",
    "trials",
    "seeds",
    "first_seed",
    "prune",
    "sampler",
    "storage",
    "settings",
    "space",
)
DEFAULTS = {
    "method": "rfo",
    "prune": True,
    "sampler": "tpe",
    "storage": "",
    "settings": {},
}
MACHINE = ("threads", "devices")
"""Settings that say on what hardware a trial trains, and not what it trains."""
SAMPLERS = ("tpe", "random")
RANGE = ("low", "high", "log", "step")
EXAMPLE = "{low = 0.01, high = 1.0, log = true} or a list of choices"


@dataclass(frozen=True)
class Search:
    """A search: one experiment, and the settings in which its trials differ."""

    name: str
    experiment: Experiment
    """Experiment of every trial, before its settings are drawn."""
    seeds: tuple[int, ...]
    trials: int
    space: Mapping[str, BaseDistribution]
    """What each setting is drawn from. A choice that is a list stands there as JSON text."""
    prune: bool
    """Whether trials end early whose learning curve lags behind the others."""
    sampler: str
    storage: str
    """URL of a database; empty for a journal in the sweep's folder."""

    def cell(self, trial: int, drawn: Mapping[str, Any]) -> Cell:
        """What one trial trains.

        Args:
            trial: number of the trial.
            drawn: values that were drawn from the space.

        Raises:
            SettingError: if the settings do not fit each other.
        """
        experiment = self.experiment.edited(settings(drawn))
        return Cell(f"{trial:04}", experiment, self.seeds, together=True)

    @property
    def description(self) -> dict[str, Any]:
        """What all processes of a sweep must agree on, ready for JSON."""
        experiment = self.experiment.to_json()
        return {
            "experiment": {name: x for name, x in experiment.items() if name not in MACHINE},
            "seeds": list(self.seeds),
            "space": {name: repr(distribution) for name, distribution in self.space.items()},
        }


def settings(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Drawn values as the settings have them: JSON texts become lists again."""
    texts = {name for name, x in drawn.items() if isinstance(x, str) and x[:1] in ("[", "{")}
    return {name: json.loads(x) if name in texts else x for name, x in drawn.items()}


def read(path: Path) -> Search:
    """Read a search.

    Raises:
        SettingError: if the file cannot be read, an entry is missing, unknown or of a wrong type,
            or a setting is refused.
    """
    content = read_toml(path)
    try:
        return _search(path.stem, content)
    except SettingError as error:
        raise SettingError(f"{path}: {error}", error.field) from None


def _search(name: str, content: Mapping[str, Any]) -> Search:
    refuse_unknown(content, ENTRIES)
    given = {**DEFAULTS, **content}
    sampler = entry(given, "sampler", str)
    require_known(sampler, SAMPLERS, "sampler")
    trials, seeds = entry(given, "trials", int), seed_numbers(content)
    if trials < 1:
        raise SettingError(f"trials must be at least 1, not {trials}", "trials")
    common = entry(given, "settings", dict)
    drawn = dict(_flat(entry(given, "space", dict)))
    if not drawn:
        raise SettingError(f"space must name settings, as in c_past = {EXAMPLE}", "space")
    for setting in ("seed", "steps"):
        if setting in common or setting in drawn:
            raise SettingError(f"{setting} is the same for all trials: set it outside", setting)
    start = {"steps": entry(given, "steps", int), "seed": seeds[0]}
    base = preset(entry(given, "task", str), entry(given, "method", str))
    base = base.edited(common).edited(start)
    return Search(
        name=name,
        experiment=base,
        seeds=seeds,
        trials=trials,
        space={setting: _distribution(setting, x, base) for setting, x in drawn.items()},
        prune=entry(given, "prune", bool),
        sampler=sampler,
        storage=entry(given, "storage", str),
    )


def _flat(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names of settings, and what each is drawn from."""
    for name, value in table.items():
        if isinstance(value, Mapping) and not set(value) & {"low", "high"}:
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _distribution(name: str, given: Any, base: Experiment) -> BaseDistribution:
    """What a setting is drawn from; its ends or choices must be values that it can have."""
    where = f"space.{name}"
    if isinstance(given, list):
        if not given:
            raise SettingError(f"{where} must have choices, as in [2, 4, 8]", where)
        for choice in given:
            base.edited({name: choice})
        plain = [json.dumps(x) if isinstance(x, (list, dict)) else x for x in given]
        return CategoricalDistribution(plain)
    if not isinstance(given, Mapping):
        raise SettingError(f"{where} must be {EXAMPLE}, not {given!r}", where)
    refuse_unknown(given, RANGE, where)
    low, high, step = given.get("low"), given.get("high"), given.get("step")
    log = entry({"log": False, **given}, "log", bool, where)
    if not (_is_number(low) and _is_number(high)):
        raise SettingError(f"{where} must have numbers low and high, as in {EXAMPLE}", where)
    for end in (low, high):
        base.edited({name: end})
    present = leaves(base.algorithm) | leaves(base)
    numbers = [present.get(name.removeprefix("algorithm.")), low, high, step]
    try:
        if float in map(type, numbers):
            return FloatDistribution(float(low), float(high), log=log, step=step)
        return IntDistribution(int(low), int(high), log=log, step=1 if step is None else step)
    except (TypeError, ValueError) as error:
        raise SettingError(f"{where}: {error}", where) from None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
