"""Run folders are read, thinned by rules checked by hand, and read back from the collected file."""

import json

import numpy as np
import pytest

from rfo.lab.folders import find_runs, read_any, read_run
from rfo.lab.results import Curve, ResultsError, collect, read_collection, thin


def test_run_is_read_with_nothing_before_the_first_episode(make_run):
    run = read_run(make_run("a", seed=3))
    assert (run.task, run.label, run.algorithm, run.seed) == ("ant", "rfo", "rfo", 3)
    np.testing.assert_array_equal(run.curve.env_steps, [100, 200, 300, 400])
    np.testing.assert_array_equal(run.curve.seconds, [0.5, 1, 1.5, 2])
    np.testing.assert_array_equal(run.curve.return_mean, [np.nan, 10, 20, 30])
    assert run.evaluation["deterministic"]["mean"] == 3


def test_label_is_the_cell_of_a_sweep_or_else_the_algorithm(make_run, tmp_path):
    for name in ("lone", "K2/s0", "K2/s1"):
        make_run(name, algorithm="sapo")
    assert [run.label for run in find_runs(tmp_path / "runs")] == ["K2", "K2", "sapo"]
    assert [run.label for run in find_runs(tmp_path / "runs" / "lone")] == ["sapo"]


def test_variant_of_an_algorithm_is_told_from_it(make_run):
    folder = make_run("a")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "method": "naive_flow"}))
    assert read_run(folder).label == "naive_flow"


def test_tasks_of_ones_own_are_told_apart_by_version_and_content(make_run):
    folder = make_run("a")
    config = json.loads((folder / "config.json").read_text())
    config["task"]["name"] = "my_package.tasks:Reach"
    (folder / "config.json").write_text(json.dumps(config))
    for about, shown in (
        ({"version": "1.2", "sha256": "ab" * 32}, "my_package.tasks.Reach 1.2 abababab"),
        ({"version": None, "sha256": "cd" * 32}, "my_package.tasks.Reach cdcdcdcd"),
        ({"version": "1.3", "sha256": None}, "my_package.tasks.Reach 1.3"),
    ):
        (folder / "task.json").write_text(json.dumps(about))
        assert read_run(folder).task == shown


def test_thinning_averages_blocks_and_keeps_the_last_of_their_clocks():
    curve = Curve(
        np.arange(1.0, 7.0), 10 * np.arange(1.0, 7.0), np.array([np.nan, np.nan, np.nan, 4, 5, 9])
    )
    short = thin(curve, points=3)
    np.testing.assert_array_equal(short.env_steps, [2, 4, 6])
    np.testing.assert_array_equal(short.seconds, [20, 40, 60])
    np.testing.assert_array_equal(short.return_mean, [np.nan, 4, 7])


@pytest.mark.parametrize("rows", [1, 7, 100, 101, 1999])
def test_thinning_keeps_the_end_and_the_limit(rows, rng):
    curve = Curve(np.arange(rows, dtype=float), np.arange(rows, dtype=float), rng.normal(size=rows))
    short = thin(curve, points=100)
    assert len(short.env_steps) == min(rows, 100)
    assert short.env_steps[-1] == rows - 1


def test_collected_files_give_the_runs_back(make_run, tmp_path):
    for seed in (0, 1):
        make_run(f"rfo/s{seed}", seed=seed, returns=[None, 0.1 + seed, 1234.5678])
    make_run("sapo/s0", algorithm="sapo", returns=[None, None])
    runs = find_runs(tmp_path / "runs")
    file = collect(runs, tmp_path / "small")
    back = read_collection(tmp_path / "small")
    assert len(back) == len(read_any(file)) == 3
    for run, again in zip(runs, back, strict=True):
        assert (run.task, run.label, run.algorithm, run.seed) == (
            again.task,
            again.label,
            again.algorithm,
            again.seed,
        )
        np.testing.assert_allclose(np.stack(run.curve), np.stack(again.curve), rtol=1e-5)
        assert again.evaluation["stochastic"] == {
            "mean": run.seed,
            "std": 1.0,
            "iqm": 2.0,
            "episodes": 4,
        }


def test_damaged_lines_are_left_out_and_told(make_run, capsys):
    folder = make_run("a")
    metrics = folder / "metrics.jsonl"
    good = metrics.read_bytes()
    metrics.write_bytes(good + b'{"env_steps": 5')  # a crash, or a writer in the middle of a line
    assert len(read_run(folder).curve.env_steps) == 4
    assert capsys.readouterr().err == ""
    for bad in (b"\xff", b"null", b"garbage", b"{}", b'{"update": 5, "env_steps": "500"}'):
        metrics.write_bytes(bad + b"\n" + good)
        assert list(read_run(folder).curve.return_mean[1:]) == [10, 20, 30]
        assert capsys.readouterr().err == (
            f"rfo: {metrics}: left out line 1, which cannot be read\n"
        )
    metrics.write_bytes(b'{"update": 0, "env_steps": 5}\n' + good)  # no time
    assert len(read_run(folder).curve.env_steps) == 4
    assert "left out 1 lines without env_steps or seconds" in capsys.readouterr().err


BAD_NAMES = ["", " ", "a\nb", "\x1b[2J", "$x$", "=1+1", "x" * 201, 3, None, ["ant"], "\u202eant"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("field", ["task", "method"])
def test_names_that_cannot_be_shown_are_refused(name, field, make_run):
    folder = make_run("a")
    config = json.loads((folder / "config.json").read_text())
    if field == "method" and not name:
        config["algorithm"] = {}
    (folder / "config.json").write_text(json.dumps({**config, field: name}))
    with pytest.raises(ResultsError, match=r"a is not a run folder .*: a run's \w+ must be"):
        read_run(folder)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "3",
        '{"stochastic": {"mean": 1}}',
        '{"stochastic": 1, "deterministic": 2}',
        "{",
        '{"stochastic": {"mean": "<b>"}, "deterministic": {"mean": 1}}',
        "[" * 100000,
    ],
)
def test_an_evaluation_that_is_none_is_refused(content, make_run):
    folder = make_run("a")
    (folder / "evaluation.json").write_text(content)
    with pytest.raises(ResultsError):
        read_run(folder)


def test_a_mean_that_is_not_finite_is_read_as_such(make_run):
    folder = make_run("a")
    part = {"mean": None}
    (folder / "evaluation.json").write_text(json.dumps({"stochastic": part, "deterministic": part}))
    assert np.isnan(read_run(folder).score)


@pytest.mark.parametrize("content", ["[]", "3", "null", '{"task": "ant", "algorithm": []}'])
def test_a_configuration_that_is_none_is_refused(content, make_run):
    folder = make_run("a")
    (folder / "config.json").write_text(content)
    with pytest.raises(ResultsError):
        read_run(folder)


def test_what_is_no_run_is_refused_by_name(make_run, tmp_path):
    with pytest.raises(ResultsError, match="no run folder in"):
        find_runs(tmp_path)
    folder = make_run("a")
    (folder / "config.json").write_text("{}")
    with pytest.raises(ResultsError, match="a run's task must be"):
        read_run(folder)
    with pytest.raises(ResultsError, match="does not hold collected results"):
        read_collection(tmp_path)
    whole = collect([read_run(make_run("b"))], tmp_path).read_text()
    assert len(read_any(tmp_path)) == 1
    for damaged in (
        "",
        "[1]",
        whole[:-4],
        whole.replace("[100,", "["),
        whole.replace("seed", "sed"),
    ):
        (tmp_path / "results.json").write_text(damaged)
        with pytest.raises(ResultsError, match="does not hold collected results"):
            read_any(tmp_path)
