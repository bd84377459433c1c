"""The measurements of `rfo bench speed`: processes stay on their cores, and labels are honest."""

import os
import platform
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rfo.lab import cores
from rfo.lab.speed import measure as bench
from rfo.lab.speed import mjx, peer, table, worker
from rfo.training.record import RunError

CORE = cores.usable_cores()[-1]


def measured(environments, rate):
    return {
        "environments": environments,
        "env_steps_per_s": rate,
        "quartiles": [0.9 * rate, 1.1 * rate],
    }


def result(**changes):
    """A small result of `bench.measure`."""
    one = {"substeps": 16, "physics": [measured(64, 50_000.0)], "train": measured(64, 7_000.0)}
    four = {"substeps": 16, "physics": [measured(64, 120_000.0)], "train": measured(64, 17_000.0)}
    one["forward"], four["forward"] = [measured(64, 150_000.0)], [measured(64, 360_000.0)]
    machine = {"cpu": "a CPU", "cpus": 4, "load_at_start": 0.0, "packages": {"jax": "0.10.2"}}
    return {
        "algorithm": "rfo",
        "horizon": 32,
        "tasks": {"ant": {"1": one, "4": four}},
        "peer": None,
        "mjx": {},
        "quoted": {},
        "machine": machine,
    } | changes


def test_rates_are_steps_over_time():
    rates = bench._rates({"environments": 2, "env_steps": 8, "seconds": [1.0, 4.0, 2.0]})
    assert rates == {
        "environments": 2,
        "env_steps_per_s": 4.0,
        "quartiles": [3.0, 6.0],
        "repetitions": 3,
    }


def test_a_worker_keeps_to_its_cores_and_counts_every_step(tmp_path, monkeypatch):
    monkeypatch.setenv("RFO_THREADS", "3")
    settings = worker.WorkerSettings(
        "quadratic", "apg", [CORE], horizon=5, batches=[2, 3], seconds=0.0
    )
    done = bench._child([sys.executable, "-m", worker.__name__], settings)
    assert done["cores"] == [CORE]
    for kind in ("forward", "physics"):
        assert [entry["env_steps"] for entry in done[kind]] == [10, 15]
        assert all(len(entry["seconds"]) == worker.REPETITIONS for entry in done[kind])
    train = done["train"]
    assert (
        train["env_steps"] == train["environments"] * train["horizon"] and min(train["seconds"]) > 0
    )


def test_batches_whose_states_would_fill_the_memory_are_left_out():
    """With 1 kB per step and environment over 32 steps, 2 GiB hold 65,536 environments.

    The first batch is always measured."""
    kernels = SimpleNamespace(input_widths=(240, 16), dtype=np.dtype(np.float32))
    settings = worker.WorkerSettings("ant", "apg", [CORE], 32, [70_000, 65_536, 65_537], 0.0)
    assert worker.affordable(SimpleNamespace(kernels=kernels), settings) == [70_000, 65_536]
    assert worker.affordable(None, settings) == settings.batches


def test_without_affinity_only_all_cores_are_measured(monkeypatch):
    """As on a Mac, where a process cannot be kept on one core."""
    assert bench.core_counts(4) == [1, 4] and bench.core_counts(4, cores=2) == [1, 2]
    for name in ("sched_getaffinity", "sched_setaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    for name in ("JAX_PLATFORMS", "XLA_FLAGS"):
        monkeypatch.setenv(name, "")  # the peer changes them, and they are restored afterwards
    assert cores.usable_cores() == list(range(os.cpu_count())) and not cores.keep_on([0])
    assert bench.core_counts(4) == [4]
    peer.limit_cores([0])


def test_the_cpu_has_a_name_without_proc(monkeypatch):
    """As on a Mac."""
    monkeypatch.setattr(bench, "Path", lambda _: (_ for _ in ()).throw(OSError))
    assert bench.cpu_name() == platform.processor() or bench.cpu_name() == platform.machine()


def test_a_failed_measurement_is_one_line(monkeypatch):
    settings = worker.WorkerSettings("nothing", "apg", [CORE], horizon=5, batches=[2], seconds=0.0)
    with pytest.raises(RunError, match=r"unknown task 'nothing'.*") as error:
        bench._child([sys.executable, "-m", worker.__name__], settings)
    assert "\n" not in str(error.value)


def test_a_missing_peer_is_said_and_stops_nothing(tmp_path):
    told = []
    outcome = bench._peer([1], [CORE], tmp_path / "python", told.append)
    assert "--peer-python" in outcome["missing"] and not told
    assert outcome["missing"] in table.notes(result(peer=outcome))


def test_table_shows_what_was_measured_and_marks_what_was_not(capsys):
    rates = {"name": "Brax", "substeps": 4, **measured(256, 8_000.0)}
    quoted = {"Rewarped 1.3.3, ant": {"env_steps_per_s": 360.0, "environments": 64}}
    table.show(result(peer={"1": rates, "4": rates}, quoted=quoted))
    lines = capsys.readouterr().out.splitlines()
    row = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert row["physics,"][-8:] == ["16", "64", "50,000", "±", "10%", "120,000", "±", "10%"]
    assert row["Brax"][1:3] == ["4", "256"]
    assert "(quoted)" in row["Rewarped"] and row["Rewarped"][-1] == "360"
    assert any("not measured here" in line for line in lines)
    assert not any("Other programs" in line for line in lines)


def test_what_mjx_could_not_do_is_told(capsys):
    rates = {"name": "MJX 3", "substeps": 10, "finite": False, **measured(64, 900.0)}
    late = {"missing": "did not finish in 10 minutes"}
    given = result(mjx={"ant": {n: {"forward": rates, "physics": late} for n in ("1", "4")}})
    table.show(given)
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "MJX" in line]
    assert rows[0][:7] == ["MJX", "3,", "forward", "10", "64", "900", "±"]
    assert "MJX, ant, cores 1, forward and backward: did not finish" in table.notes(given)[2]
    assert "forward: some numbers were not finite" in table.notes(given)[1]


def test_a_busy_machine_is_told():
    busy = result()
    busy["machine"]["load_at_start"] = 3.0
    assert "load 3.0" in table.notes(busy)[-1]


def test_the_peers_run_without_this_package():
    for program in (peer, mjx):
        source = Path(program.__file__).read_text(encoding="utf-8")
        assert "import rfo" not in source and "from rfo" not in source
