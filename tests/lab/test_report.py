"""A report on made-up runs, in whose tables every number can be worked out by hand."""

import csv
import json
import re

import numpy as np
import pytest

from rfo.lab.comparison import Comparison
from rfo.lab.folders import find_runs, read_any
from rfo.lab.labels import separated
from rfo.lab.report import write
from rfo.lab.results import Curve, ResultsError, RunResult


def run(label, seed, score, task="ant", returns=(0, 5, 10), status="finished"):
    steps = 100.0 * np.arange(1, len(returns) + 1)
    summary = {"mean": score}
    evaluation = (
        {"stochastic": summary, "deterministic": {"mean": score + 1}}
        if status == "finished"
        else {}
    )
    return RunResult(
        task, label, label, seed, Curve(steps, steps, np.array(returns, float)), evaluation, status
    )


RUNS = [
    run("sapo", 0, 10.0),
    run("sapo", 1, 14.0, returns=(0, 10, 20)),
    run("rfo", 0, 20.0, returns=(0, 30, 40)),
    run("rfo", 1, 12.0, returns=(0, 0, 6)),
    run("rfo", 2, np.nan, returns=(np.nan, 4, 7), status="diverged"),
    run("apg", 0, np.nan, returns=(np.nan, np.nan, np.nan), status="unfinished"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("report")
    write(
        Comparison([*RUNS, run("sapo", 0, 3.0, "hopper"), run("rfo", 0, 4.0, "hopper")], "sapo"),
        place,
    )
    return place


def rows(folder, label):
    lines = (folder / "report.md").read_text().splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith(f"| {label} ")
    ]


def table(folder, name, *keys):
    with (folder / name).open() as file:
        return {tuple(row[key] for key in keys): row for row in csv.DictReader(file)}


def test_final_table(folder):
    """sapo has 10 and 14. A diverged run has its last return as its score; a run without any return
    counts as the task's worst."""
    sapo, rfo, apg = (rows(folder, label)[0] for label in ("sapo", "rfo", "apg"))
    # t(0.975, 1 degree of freedom) = 12.706, standard error 2
    assert sapo[1:3] == ["2", "12 ± 25.4"]
    assert sapo[4:6] == ["10", "14"] and sapo[6].startswith("13 ±") and sapo[7] == "4,536 ± 24.5"
    assert rfo[1:3] == ["3†", "13 ± 16.3"] and rfo[4:6] == ["7", "20"]
    assert apg[1:3] == ["1†", "7"]
    text = (folder / "report.md").read_text()
    assert "† rfo, seed 2: diverged after 300 steps; its score is its last return, 7." in text
    assert (
        "† apg, seed 0: unfinished after 300 steps; no episode ended, so it counts as the task's"
        in text
    )
    last = table(folder, "final.csv", "task", "label")["ant", "rfo"]
    assert float(last["mean"]) == 13 and float(last["mean_high"]) == pytest.approx(29.28, abs=0.01)
    assert last["unfinished"] == "1" and last["published"] == ""


def test_comparison_with_the_reference(folder):
    """The reference ends at (10 + 20) / 2 = 15, which one seed of rfo reaches. Half of its rise is
    7.5.

    sapo reaches 7.5 after 250 steps with the returns 0, 5, 10, and after 175 with 0, 10, 20. So
    half of its two seeds have reached it after 175."""
    rfo = rows(folder, "rfo")[1]
    assert rfo[1].startswith("0.5 [")  # 20 beats both, 12 one, 7 none: 3 of 6 pairs
    assert rfo[2:4] == ["not reached [125, not reached]", "not reached [150, not reached]"]
    sapo = rows(folder, "sapo")[1]
    assert sapo[1] == "" and sapo[2] == "175 [175, 250]" and sapo[4] == "not reached"
    found = table(folder, "efficiency.csv", "task", "label", "threshold")
    half = found["ant", "sapo", "half of sapo's rise"]
    assert [float(half[name]) for name in ("return", "steps", "steps_low", "steps_high")] == [
        7.5,
        175,
        175,
        250,
    ]
    assert (half["reached"], half["seeds"]) == ("2", "2")
    final = found["ant", "rfo", "sapo's final return"]
    assert float(final["return"]) == 15 and (final["steps"], final["reached"]) == ("inf", "1")
    assert float(final["steps_low"]) == 150  # seed 0 goes from 0 to 30 between 100 and 200
    assert float(found["ant", "rfo", "SAPO's published return"]["return"]) == 4535.9


def test_csv_files_hold_every_run_and_pair(folder):
    scores = table(folder, "scores.csv", "task", "label", "seed")
    assert len(scores) == 8
    assert (
        scores["ant", "rfo", "2"]["status"] == "diverged"
        and scores["ant", "rfo", "2"]["score"] == "7"
    )
    pairs = table(folder, "improvement.csv", "task", "label", "over")
    assert len(pairs) == 6 + 2 + 2
    assert float(pairs["ant", "rfo", "sapo"]["probability"]) == 0.5
    assert float(pairs["ant", "rfo", "sapo"]["probability_low"]) < 0.5
    assert float(pairs["hopper", "rfo", "sapo"]["probability"]) == 1
    assert float(pairs["(all)", "rfo", "sapo"]["probability"]) == 0.75


def test_over_all_tasks_only_methods_that_ran_on_all(folder):
    """rfo scores 5/13, 1 and 0 on ant, scaled from 7 to 20, and 1 on hopper; the IQM uses two of
    the four."""
    last = (folder / "report.md").read_text().partition("## All tasks")[2]
    assert "| rfo | 0.692" in last and "| apg" not in last
    shares = table(folder, "profiles.csv", "label", "score")
    assert float(shares["rfo", "0.5"]["share"]) == pytest.approx((1 / 3 + 1) / 2)


def test_figures_and_raw_results_lie_beside_it(folder):
    pictures = {"finals.png", "curves_ant.png", "curves_hopper.png", "profiles.png"}
    assert {path.name for path in folder.iterdir() if path.suffix not in (".csv", ".md")} == {
        *pictures,
        "results.json",
        "report.html",
    }
    again = read_any(folder)
    assert [(r.label, r.seed, r.status) for r in again][:6] == [
        (r.label, r.seed, r.status) for r in RUNS
    ]
    np.testing.assert_allclose([r.score for r in again][:5], [r.score for r in RUNS][:5])


def test_folders_of_a_suite_give_labels_and_states(make_run, tmp_path):
    make_run("ant/rfo_K2/s0")
    make_run("ant/rfo_K2/s1", seed=1, finished=False)
    (make_run("ant/sapo/s0", algorithm="sapo", finished=False) / "diverged").mkdir()
    make_run("abandoned/ant-sapo-s1-1", algorithm="sapo", finished=False)
    found = find_runs(tmp_path / "runs")
    assert [(r.label, r.status) for r in found] == [
        ("rfo_K2", "finished"), ("rfo_K2", "unfinished"), ("sapo", "diverged"),
    ]  # fmt: skip
    assert [r.score for r in found] == [0.0, 30.0, 30.0]
    assert [r.label for r in find_runs(tmp_path / "runs" / "ant" / "rfo_K2")] == [
        "rfo_K2",
        "rfo_K2",
    ]


def test_runs_that_differ_in_a_setting_are_not_averaged(make_run, tmp_path, capsys):
    """They differ in gamma; the seed and the threads make no difference."""
    for seed, gamma in enumerate((0.99, 0.99, 0.9)):
        config = make_run(f"ant/rfo/s{seed}", seed=seed) / "config.json"
        content = json.loads(config.read_text()) | {"threads": seed}
        content["algorithm"]["gamma"] = gamma
        config.write_text(json.dumps(content))
    runs = separated(find_runs(tmp_path / "runs"))
    assert [run.label for run in runs] == ["rfo (gamma 0.99)"] * 2 + ["rfo (gamma 0.9)"]
    assert "runs of rfo on ant differ in gamma: they are shown apart" in capsys.readouterr().err
    assert [run.label for run in separated(runs[:2])] == ["rfo (gamma 0.99)"] * 2


def test_the_page_is_whole_and_tells_settings_gradient_and_replays(make_run, tmp_path):
    """A clipped gradient in three of four updates; the other method has another gamma."""
    for label, gamma in (("rfo", 0.99), ("sapo", 0.9)):
        folder = make_run(f"ant/{label}/s0", algorithm=label)
        config = json.loads((folder / "config.json").read_text())
        config["algorithm"]["gamma"] = gamma
        (folder / "config.json").write_text(json.dumps(config))
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for line, norm in zip(lines, (0.5, 2.0, 4.0, 8.0), strict=True):
            line |= {"grad_norm": norm, "grad_norm_clipped": min(norm, 1.0)}
            line |= {"dropped_gradients": 0.02, "skipped_updates": 1.0}
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
        (folder / "replay.html").write_text("")
    write(Comparison(find_runs(tmp_path / "runs"), "sapo"), tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page and page.count("data:image/png;base64,") == 2
    assert not re.search(r"<script|<link\b|src=\"(?!data:)|https?://", page)
    assert "<tr><td>gamma</td>" in page and "<td>0.99</td>" in page and "<td>0.9</td>" in page
    row = "<td>3</td><td>75%</td><td>2.00%</td><td>4</td><td></td>"
    assert f"<tr><td>rfo</td>{row}</tr>" in page
    for link in re.findall(r'href="([^"#]+)"', page):
        assert (tmp_path / "report" / link).is_file()
    assert page.count(">seed 0</a>") == 2


def test_the_same_run_twice_is_refused():
    """Two copies of a seed must not count as two seeds."""
    with pytest.raises(ResultsError, match="2 runs are ant, sapo, seed 1"):
        Comparison([*RUNS, RUNS[1]], "sapo")


def test_labels_that_are_not_shown_stay_in_the_raw_results(tmp_path):
    write(Comparison(RUNS[:2], "sapo"), tmp_path, raw=RUNS)
    assert len(read_any(tmp_path)) == len(RUNS)
    assert rows(tmp_path, "sapo") and not rows(tmp_path, "rfo")


def test_nothing_to_report_on_is_refused():
    with pytest.raises(ResultsError, match="no run"):
        Comparison([], "sapo")
    with pytest.raises(ResultsError, match="label shac; known labels: sapo, rfo, apg"):
        Comparison(RUNS, "shac")


def test_a_report_on_what_a_report_kept_is_the_same_report(tmp_path):
    """The raw results of a report give the same tables and figures, byte for byte."""
    rng = np.random.default_rng(0)
    runs = [
        run(label, seed, 10.0 + seed, returns=rng.random(97))
        for label in ("rfo", "sapo")
        for seed in (0, 1)
    ]
    first, again = tmp_path / "first", tmp_path / "again"
    names = {path.name for path in write(Comparison(runs, "sapo"), first, points=10)}
    write(Comparison(read_any(first), "sapo"), again, points=10)
    assert {"efficiency.csv", "report.md", "curves_ant.png", "scores.csv"} <= names
    assert {
        name for name in names if (first / name).read_bytes() != (again / name).read_bytes()
    } == set()


STRANGE = ["/../../victim", "a/b", "a.b", "a.c", "..", "<script>alert(1)</script>", "a|b", "[x](y)"]


def test_names_of_someone_else_stay_inside_the_report(tmp_path):
    """They are text in it, and no part of a path."""
    (tmp_path / "site" / "report").mkdir(parents=True)
    runs = [run(label, 0, 1.0, task) for task in STRANGE for label in ("rfo", "a|b<i>")]
    before = {path for path in tmp_path.rglob("*")}
    written = write(Comparison(runs, "rfo"), tmp_path / "site" / "report")
    new = {path for path in tmp_path.rglob("*")} - before
    assert new == set(written) and all(path.parent.name == "report" for path in new)
    assert len([path for path in new if path.name.startswith("curves_")]) == len(STRANGE)
    text = (tmp_path / "site" / "report" / "report.md").read_text()
    assert "<script>" not in text and "<i>" not in text and "[x](y)" not in text
    for name in re.findall(r"!\[.*\]\((.*?)\)\n", text):
        assert (tmp_path / "site" / "report" / name).is_file(), name
    page = (tmp_path / "site" / "report" / "report.html").read_text()
    assert "<script>" not in page and "<i>" not in page
    table = [line for line in text.splitlines() if line.startswith("| a")]
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table if "± " not in line}
    assert table and max(columns) <= 10  # a name with a bar makes no column of its own


def test_collected_results_of_someone_else_are_checked_too(folder, tmp_path):
    records = json.loads((folder / "results.json").read_text())
    for change in ({"task": "a\nb"}, {"seed": "0"}, {"evaluation": []}, {"status": "<b>"}):
        (tmp_path / "results.json").write_text(json.dumps([{**records[0], **change}]))
        with pytest.raises(ResultsError):
            read_any(tmp_path)
