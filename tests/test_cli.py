"""The command line as a user sees it: output, files and failures."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from glossary import unexplained
from paced import PACED
from rfo.cli import settings
from rfo.cli.main import COMMANDS, find, main
from rfo.cli.train import Train
from rfo.experiment.presets import METHODS, TASKS, Task
from rfo.experiment.record import preset
from rfo.training import checkpoint

DOG = Path(__file__).parents[1] / "examples" / "dog.xml"
SMALL = ["--algo", "apg", "--envs", "4", "--horizon", "4", "--network.hidden", "8"]


def rfo(capsys, *words):
    """Status, stdout and stderr of one command run in this process."""
    capsys.readouterr()
    try:
        status = main([str(word) for word in words])
    except SystemExit as stop:  # --help
        status = stop.code or 0
    out, err = capsys.readouterr()
    return status, out, err


def fails(capsys, *words):
    """The line on stderr with which a command fails."""
    status, out, err = rfo(capsys, *words)
    assert status not in (0, None)
    assert out == "" and "Traceback" not in err
    assert err.startswith("rfo: ") and err.count("\n") == 1, err
    return err


def metrics(run):
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of 6 updates."""
    path = tmp_path_factory.mktemp("runs") / "run"
    assert (
        main(["train", "truncating", *SMALL, "--steps", "96", "--seed", "2", "--out", str(path)])
        == 0
    )
    return path


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the run, which a test may damage."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_training_leaves_a_whole_run_folder(run):
    names = {path.name for path in run.iterdir()}
    assert {
        "config.json",
        "versions.json",
        "metrics.jsonl",
        "evaluation.json",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert (run / "checkpoints" / checkpoint.FINAL).exists()
    config = json.loads((run / "config.json").read_text())
    assert config["algorithm"]["network"]["hidden"] == [8] and config["seed"] == 2
    assert config["algorithm"]["schedule"]["updates"] == 6
    assert [line["env_steps"] for line in metrics(run)] == [16, 32, 48, 64, 80, 96]
    assert {"seconds", "return_mean", "grad_norm", "nonfinite"} <= metrics(run)[-1].keys()
    assert unexplained(metrics(run)[-1]) == set(), "add them to docs/glossary.md"
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["stochastic"]["episodes"] == evaluation["deterministic"]["episodes"] == 8
    assert any(name.endswith(".evaluation") for name in names), "TensorBoard shows it, too"


def test_folder_is_the_last_line_printed_and_never_overwritten(run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = rfo(capsys, "train", "truncating", *SMALL, "--steps", "96", "--seeds", "2")
    printed = [Path(line) for line in out.splitlines()[-2:]]
    assert status == 0 and all((path / "config.json").exists() for path in printed)
    assert [path.name.rsplit("-", 2)[0] for path in printed] == [
        "truncating-apg-s0",
        "truncating-apg-s1",
    ]
    before = files(run)
    line = fails(capsys, "train", "truncating", *SMALL, "--out", run)
    assert "exists already" in line and "--resume" in line
    assert files(run) == before


def test_eval_prints_what_scripts_rely_on_and_repeats(run, capsys):
    status, out, _ = rfo(capsys, "eval", run, "--episodes", "10", "--json")
    result = json.loads(out)
    assert status == 0 and result["deterministic"] is False
    assert result["episodes"] == 12  # equal shares of 4 environments
    assert result["mean"] == pytest.approx(np.mean(result["returns"]))
    assert {"std", "iqm"} <= result.keys()
    assert json.loads(rfo(capsys, "eval", run, "--episodes", "10", "--json")[1]) == result
    _, out, _ = rfo(
        capsys, "eval", run, "--deterministic", "--json", "--seed", "2", "--episodes", "8"
    )
    recorded = json.loads((run / "evaluation.json").read_text())["deterministic"]
    assert json.loads(out)["returns"] == recorded["returns"]
    assert "return" in rfo(capsys, "eval", run, "--episodes", "4")[1]


def test_policy_is_evaluated_on_another_task_of_its_sizes_only(capsys, tmp_path):
    run = tmp_path / "lqr"
    assert rfo(capsys, "train", "lqr", *SMALL, "--steps", "16", "--out", run)[0] == 0
    at_home, elsewhere = (
        json.loads(rfo(capsys, "eval", run, *on, "--episodes", "4", "--json")[1])
        for on in ((), ("--on", "terminating"))
    )
    assert (at_home["task"], elsewhere["task"]) == ("lqr", "terminating")
    assert at_home["length_mean"] == 64 > elsewhere["length_mean"]  # other episodes, other returns
    assert at_home["returns"] != elsewhere["returns"]
    before = files(run)
    assert rfo(capsys, "eval", run, "--on", "terminating", "--episodes", "4")[1].startswith(
        "on terminating, stoch"
    )
    assert "cannot act in truncating: observation 2 against 1" in fails(
        capsys, "eval", run, "--on", "truncating"
    )
    assert "did you mean terminating" in fails(capsys, "eval", run, "--on", "terminatin")
    assert "MuJoCo cannot judge lqr" in fails(capsys, "eval", run, "--physics", "mujoco")
    assert files(run) == before


def test_list_names_every_task_and_algorithm_without_loading_jax(capsys):
    _, out, _ = rfo(capsys, "list", "--json")
    listed = json.loads(out)
    assert set(listed["tasks"]) == set(TASKS)
    assert set(listed["methods"]) == set(METHODS)
    code = (
        "import sys; from rfo.cli.main import main; main(['list']); "
        "assert not {'jax', 'warp', 'mujoco'} & set(sys.modules)"
    )
    assert (
        "ant"
        in subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, text=True
        ).stdout
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_there_for_every_command(command, capsys):
    status, out, err = rfo(capsys, *command.split(), "--help")
    assert status == 0 and err == ""
    assert f"usage: rfo {command}" in out
    assert (find(command).__doc__ or "").split(".")[0].split()[0] in out


def test_help_of_train_shows_the_hyperparameters_of_the_algorithm(capsys):
    assert "--c-past" in rfo(capsys, "train", "--help")[1]
    sapo = rfo(capsys, "train", "ant", "--algo", "sapo", "--help")[1]
    assert "--target-entropy" in sapo and "--c-past" not in sapo and "--schedule" not in sapo


def parsed(*words):
    """The experiment that `rfo train` would train."""
    return settings.parse(Train, "train", [str(word) for word in words])[1]()


def test_variants_and_the_evaluation_are_configured_as_asked():
    naive = parsed("lqr", "--algo", "naive_flow", "--evaluation.episodes", "6")
    assert naive == preset("lqr", "naive_flow", **{"evaluation.episodes": 6})
    assert naive.algorithm.c_past == naive.algorithm.c_uni == 0
    assert parsed("lqr", "--algo=naive_flow", "--c-uni", "0.3").algorithm.c_uni == 0.3


def test_check_grad_judges_by_its_status_and_json(capsys, monkeypatch):
    status, out, _ = rfo(
        capsys, "check-grad", "lqr", "--envs", "4", "--horizons", "1", "3", "--json"
    )
    result = json.loads(out)
    assert status == 0 and result["ok"] is True and result["worst_relative_error"] < 1e-3
    status, out, _ = rfo(capsys, "check-grad", "lqr", "--envs", "4", "--horizons", "2")
    assert status == 0 and "gradient is right" in out and "random 3" in out
    monkeypatch.setitem(TASKS, "wrong", WRONG)
    status, out, _ = rfo(capsys, "check-grad", "wrong", "--envs", "4", "--horizons", "3", "--json")
    assert status == 1 and json.loads(out)["ok"] is False


WRONG = Task("experiment.test_gradients", "WrongLQR", "3 % off", steps=100)


def test_bench_prints_one_object_on_its_last_line(capsys, monkeypatch):
    monkeypatch.setattr("rfo.lab.speed.measure.SECONDS", 0.0)
    status, out, err = rfo(
        capsys, "bench", "speed", "quadratic", "--algo", "apg", "--cores", "1", "--json"
    )
    result = json.loads(out.splitlines()[-1])
    assert status == 0 and result["threads"] == 1 and "quadratic: env-steps/s" in err
    assert result["physics_env_steps_per_s"] > 0 and result["train_env_steps_per_s"] > 0


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("trian", "did you mean train"),
        ("train", "name a task"),
        ("train antt", "did you mean ant"),
        ("train lqr --algo sappo", "did you mean sapo"),
        ("train lqr --algo", "--algo"),
        ("train lqr --c-pats 1", "did you mean --c-past"),
        ("train lqr --algo apg --c-past 1", "unknown option '--c-past'"),
        ("train lqr extra", "unexpected 'extra'"),
        ("train lqr --steps many", "--steps"),
        ("train lqr --steps -5", "steps must be at least 1"),
        ("train lqr --envs 0", "environments must be at least 1"),
        ("train lqr --chunk 3", "a chunk's 3 control steps must divide horizon (32)"),
        ("train lqr --algo apg --chunk 3", "a chunk's 3 control steps must divide horizon (32)"),
        ("train lqr --chunk 16", "critic.batches (4) must divide the 2 steps"),
        ("train lqr --chunk 2 --executed 3", "executed must be from 1 to the chunk's 2"),
        ("train lqr --seed -1", "seed must be from 0 to 4294967295"),
        ("train lqr --seeds 0", "seeds must be at least 1"),
        ("train lqr --threads -2", "threads must be at least 1"),
        ("train lqr --checkpoint-every 0", "checkpoint_every must be at least 1"),
        ("train lqr --gamma 1.5", "gamma must be in"),
        ("train lqr --horizon -1", "horizon must be positive"),
        ("train lqr --network.hidden -4", "hidden must be positive widths"),
        ("train lqr --network.activation reloo", "reloo"),
        ("train lqr --flow.solver foo", "solver must be one of euler"),
        ("train --mjcf robot.urdf", "ends in .xml, not robot.urdf"),
        ("train ant --mjcf robot.xml", "not both"),
        (f"train --mjcf {DOG} --reward jump", "unknown reward 'jump': choose from forward, hold"),
        ("train --resume nowhere", "no run folder nowhere"),
        ("train --resume nowhere --envs 5", "unknown option '--envs'"),
        ("eval", "name a run folder"),
        ("eval nowhere", "no run folder nowhere"),
        ("eval nowhere --episodes 0", "--episodes must be at least 1"),
        ("eval nowhere --seed -1", "seed must be from 0 to 4294967295"),
        ("watch", "name a run folder"),
        ("watch nowhere", "no run folder nowhere"),
        ("check-grad", "name a task"),
        ("check-grad lqrr", "did you mean lqr"),
        ("check-grad lqr --envs 0", "envs must be at least 1"),
        ("check-grad --mjcf nowhere.xml --substeps 0", "substeps must be positive"),
        ("check-grad --mjcf nowhere.xml", "no MJCF file at nowhere.xml"),
        ("bench", "rfo bench speed"),
        ("bench speed lqrr", "did you mean lqr"),
        ("bench speed lqr --cores 0", "--cores must be at least 1"),
        ("list --jsno", "did you mean --json"),
    ],
)
def test_bad_input_fails_with_one_line_that_helps(words, hint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hint in fails(capsys, *words.split())
    assert list(tmp_path.iterdir()) == []  # nothing begun


def test_a_mismatch_of_algorithm_and_task_is_refused_before_anything_is_made(
    capsys, tmp_path, monkeypatch
):
    blind = Task("experiment.test_build", "BlindLQR", "no gradient", steps=100)
    monkeypatch.setitem(TASKS, "blind", blind)
    assert "needs the gradient" in fails(capsys, "train", "blind", "--out", tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_of_a_run_are_refused_in_one_line(copied, capsys):
    final = copied / "checkpoints" / checkpoint.FINAL
    final.write_bytes(final.read_bytes()[:-9])
    _, _, err = rfo(capsys, "eval", copied)
    assert "is damaged" in err and err.splitlines()[-1].startswith("rfo: every checkpoint")
    shutil.rmtree(copied / "checkpoints")
    assert "no checkpoint" in fails(capsys, "eval", copied)
    (copied / "config.json").write_text("{")
    assert "damaged" in fails(capsys, "eval", copied)
    (copied / "config.json").write_text('{"task": "lqr", "colour": "red"}')
    assert "unknown setting 'colour'" in fails(capsys, "train", "--resume", copied)


def test_watch_tells_when_there_is_no_replay_and_opens_one(run, copied, capsys):
    assert "holds no replay" in fails(capsys, "watch", run, "--no-open")
    (copied / "replay.json").write_text(json.dumps({"task": "t", "dt": 0.1, "geoms": []}))
    np.savez(copied / "replay.npz", poses=np.zeros((2, 1, 7)), reward=np.zeros(2))
    status, out, _ = rfo(capsys, "watch", copied, "--no-open")
    assert status == 0 and "<html" in Path(out.strip()).read_text()
    shutil.copytree(copied, copied / "s1")
    status, out, _ = rfo(capsys, "watch", copied, copied / "s1", "--no-open")
    assert status == 0 and "2 replays" in Path(out.strip()).read_text()
    (copied / "replay.npz").write_bytes(b"")
    assert "damaged" in fails(capsys, "watch", copied, "--no-open")


def test_a_finished_run_is_not_trained_on(run, capsys):
    before = files(run)
    assert "is finished" in fails(capsys, "train", "--resume", run)
    assert files(run) == before


def test_full_disk_ends_with_one_line_and_keeps_the_run(tmp_path, capsys, monkeypatch):
    replace = os.replace

    def full_after_the_second(source, target):
        if Path(target).name == "update-00000003.ckpt":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    out = tmp_path / "run"
    words = (
        "train",
        "truncating",
        *SMALL,
        "--steps",
        "96",
        "--checkpoint-every",
        "1",
        "--out",
        out,
    )
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_after_the_second)
        status, _, err = rfo(capsys, *words)
    line = err.splitlines()[-1]
    assert status == 1 and "No space left on device" in line and f"--resume {out}" in line
    assert "Traceback" not in err
    status, printed, _ = rfo(capsys, "train", "--resume", out)
    assert status == 0 and printed.splitlines()[-1] == str(out)
    assert [line["update"] for line in metrics(out)] == [1, 2, 3, 4, 5, 6]


def test_divergence_ends_with_a_dump_and_a_status(tmp_path, capsys, monkeypatch):
    broken = Task("toy_tasks", "AllBroken", "never finite", steps=100)
    monkeypatch.setitem(TASKS, "broken", broken)
    monkeypatch.setattr("rfo.training.guard.PATIENCE", 3)
    out = tmp_path / "run"
    status, printed, err = rfo(capsys, "train", "broken", *SMALL, "--steps", "1600", "--out", out)
    assert status == 1 and f"{out} diverged" in err
    assert printed.splitlines()[-1] == str(out)
    assert (out / "diverged" / "report.json").exists() and (
        out / "diverged" / "state.ckpt"
    ).exists()


def test_ctrl_c_checkpoints_and_the_resumed_run_equals_an_uninterrupted_one(tmp_path, capsys):
    """A process is stopped during training. Another continues and ends with the same numbers."""
    words = ["train", "truncating", *SMALL, "--steps", "640"]
    out, whole = tmp_path / "stopped", tmp_path / "whole"
    process = subprocess.Popen(
        [sys.executable, "-c", PACED, *words, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(2000):
        if (out / "metrics.jsonl").exists() and len(metrics_so_far(out)) > 5:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed.splitlines()[-1] == str(out)
    assert f"rfo train --resume {out}" in told and "Traceback" not in told
    stopped_at = metrics(out)[-1]["update"]
    assert 5 < stopped_at < 40

    assert rfo(capsys, "train", "--resume", out)[0] == 0
    assert rfo(capsys, *words, "--out", whole)[0] == 0
    assert [strip(line) for line in metrics(out)] == [strip(line) for line in metrics(whole)]
    results = [json.loads((path / "evaluation.json").read_text()) for path in (out, whole)]
    assert results[0] == results[1]


def metrics_so_far(run):
    """Complete lines of a metrics file that is being written."""
    return [
        line
        for line in (run / "metrics.jsonl").read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def strip(line):
    return {
        name: value for name, value in line.items() if name not in ("seconds", "steps_per_second")
    }
