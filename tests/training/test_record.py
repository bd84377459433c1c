"""Run folders: nothing is overwritten, and what is written can be read."""

import json
import os
import shutil
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from rfo.training.record import RunError, RunFolder, default_path, plain, provenance


def line(update):
    return {
        "update": update,
        "env_steps": 10 * update,
        "seconds": 0.5 * update,
        "return_mean": None if update == 1 else 2.5,
        "loss": float("nan") if update == 2 else 1.5,
    }


def events(folder):
    """(step, {tag: value}) of every event. A record is length, checksum, data, checksum."""
    found = []
    for path in sorted(folder.glob("events.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (size,) = struct.unpack_from("<Q", content, at)
            data = content[at + 12 : at + 12 + size]
            assert struct.unpack_from("<I", content, at + 12 + size) == (masked_crc32c(data),)
            event = Event.FromString(data)
            at += 12 + size + 4
            if event.HasField("summary"):
                found.append((event.step, {v.tag: v.simple_value for v in event.summary.value}))
    return found


def test_an_existing_run_is_never_overwritten(tmp_path):
    RunFolder.create(tmp_path / "run", {"a": 1})
    with pytest.raises(RunError, match="exists already"):
        RunFolder.create(tmp_path / "run", {"a": 2})
    assert RunFolder.open(tmp_path / "run").read_json("config.json") == {"a": 1}
    (tmp_path / "file").write_text("precious")
    with pytest.raises(RunError, match="exists already"):
        RunFolder.create(tmp_path / "file", {})
    assert (tmp_path / "file").read_text() == "precious"


def test_opening_what_is_no_run_says_so(tmp_path):
    with pytest.raises(RunError, match="no run folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(RunError, match="not a run folder"):
        RunFolder.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        RunFolder.open(tmp_path).read_json("config.json")


def test_metrics_lines_are_strict_json_and_events_hold_the_same_numbers(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    for update in (1, 2):
        folder.append(line(update))
    folder.close()
    lines = [json.loads(text) for text in (folder.path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [line(1), {**line(2), "loss": None}]
    assert events(folder.path) == [
        (10, {"update": 1.0, "env_steps": 10.0, "seconds": 0.5, "loss": 1.5}),
        (20, {"update": 2.0, "env_steps": 20.0, "seconds": 1.0, "return_mean": 2.5}),
    ]


def test_events_hold_the_evaluation_too(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    summary = {"mean": 2.5, "std": float("nan"), "deterministic": True, "returns": [2.5]}
    folder.append_evaluation({"deterministic": summary}, env_steps=30)
    assert events(folder.path) == [(30, {"evaluation/deterministic/mean": 2.5, "env_steps": 30})]


def test_events_can_be_watched_while_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("rfo.training.loggers.FLUSH_INTERVAL", 0.0)
    folder = RunFolder.create(tmp_path / "run", {})
    for update in (1, 2):
        folder.append(line(update))
        assert len(events(folder.path)) == update
    folder.close()


def test_rewinding_drops_later_lines_and_a_torn_one(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    for update in (1, 2, 3):
        folder.append(line(update))
    folder.close()
    metrics = folder.path / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write('{"update": 4, "env_st')
    folder.rewind(2)
    folder.append(line(3))
    folder.close()
    assert [json.loads(text)["update"] for text in metrics.read_text().splitlines()] == [1, 2, 3]
    assert [step for step, _ in events(folder.path)] == [
        10,
        20,
        30,
        30,
    ]  # both event files are kept


def test_replay_is_described_beside_its_arrays(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    frames = {
        "poses": np.arange(42.0).reshape(3, 2, 7),
        "vertices": np.arange(36.0).reshape(3, 4, 3),
    }
    surface = {"triangles": np.array([[0, 1, 2]])}
    folder.write_replay(
        {"task": "t", "dt": 0.1, "geoms": [], "surface": surface}, frames, np.arange(3.0)
    )
    written = {
        "task": "t",
        "dt": 0.1,
        "geoms": [],
        "surface": {"triangles": [[0, 1, 2]]},
        "frames": 3,
    }
    assert folder.read_json("replay.json") == written
    with np.load(folder.path / "replay.npz") as arrays:
        assert set(arrays) == {"poses", "vertices", "reward"}
        for name, array in {**frames, "reward": np.arange(3.0)}.items():
            assert arrays[name].dtype == np.float32
            np.testing.assert_array_equal(arrays[name], array)


def test_plain_leaves_nothing_that_json_lacks():
    value = {
        "a": np.float32(0.5),
        "b": (np.arange(2), float("inf")),
        3: [np.nan, np.bool_(True), None],
    }
    assert plain(value) == {"a": 0.5, "b": [[0, 1], None], "3": [None, True, None]}


def test_provenance_names_versions_and_platform():
    facts = provenance()
    assert facts["packages"]["jax"] and facts["packages"]["rfo"]
    assert {"python", "platform", "git", "cpus"} <= facts.keys()


def test_default_paths_of_one_second_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rfo.training.record.time.strftime", lambda _: "now")
    first, second = default_path("ant", "rfo", 3), default_path("ant", "rfo", 3)
    assert str(first) == "runs/ant-rfo-s3-now" and str(second) == "runs/ant-rfo-s3-now-2"
    for number, path in enumerate((first, second)):
        RunFolder.create(path, {"number": number})
    assert RunFolder.open(second).read_json("config.json") == {"number": 1}


def test_runs_that_start_in_the_same_moment_never_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    barrier = threading.Barrier(4)

    def start(number):
        barrier.wait()
        path = default_path("cartpole", "shac", 0)
        RunFolder.create(path, {"number": number})
        return str(path)

    with ThreadPoolExecutor(4) as pool:
        for trial in range(20):
            paths = list(pool.map(start, range(4)))
            assert len(set(paths)) == 4, paths
            assert len(list(Path("runs").iterdir())) == 4 * (trial + 1)
            kept = [json.loads((Path(path) / "config.json").read_text()) for path in paths]
            assert kept == [{"number": number} for number in range(4)]


def test_a_folder_that_another_process_is_about_to_fill_is_left_to_it(tmp_path):
    first = RunFolder.create(tmp_path / "a", {})  # holds the lock
    (tmp_path / "a" / "config.json").unlink()
    (tmp_path / "a" / "versions.json").unlink()  # as if it had only come so far
    with pytest.raises(RunError, match=f"being written by process {os.getpid()} on "):
        RunFolder.create(tmp_path / "a", {})
    first.unlock()
    RunFolder.create(tmp_path / "a", {"b": 1})


def test_a_moved_or_removed_folder_is_an_error_and_is_not_made_again(tmp_path):
    writes = [
        lambda folder: folder.append(line(2)),
        lambda folder: folder.write_json("notes.json", {}),
        lambda folder: folder.write_replay({}, {}, np.zeros(1)),
        lambda folder: folder.rewind(1),
        lambda folder: folder.inside("checkpoints"),
    ]
    for number, write in enumerate(writes):
        folder = RunFolder.create(tmp_path / f"{number}", {})
        folder.append(line(1))
        folder.path.rename(tmp_path / f"away {number}")
        with pytest.raises(RunError, match=f"{number} was moved or removed"):
            write(folder)
        assert not folder.path.exists()
        folder.path.mkdir()  # another one in its place
        with pytest.raises(RunError, match=f"{number} was moved or removed"):
            write(folder)
        assert not any(folder.path.iterdir())
        folder.close()
        assert RunFolder.open(tmp_path / f"away {number}").metrics().lines == [line(1)]


BAD_LINES = [b"\xff\n", b"null\n", b"garbage\n", b'{"update": "3"}\n', b"[" * 100_000 + b"\n"]
BAD_LINES += [b'{"update": 3, "loss": [1]}\n', b'{"update": 3, "loss": NaN}\n', b"\0\0\0\n"]


@pytest.mark.parametrize("bad", BAD_LINES)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_bad_line_of_metrics_loses_no_good_one_and_is_told(bad, place, tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    for update in (1, 3, 4, 5):
        folder.append(line(update))
    folder.close()
    metrics = folder.path / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(b"".join([*lines[:place], bad, *lines[place:]]))
    assert [there["update"] for there in folder.metrics().lines] == [1, 3, 4, 5]
    assert folder.metrics().damaged == [place + 1]
    told = folder.rewind(4)
    assert told == f"{metrics}: left out line {place + 1}, which cannot be read"
    rest = [bad] if place < 3 else []  # after the last line that stays, it goes with the others
    assert metrics.read_bytes() == b"".join([*lines[:place][:3], *rest, *lines[place:3]])
    folder.append(line(5))
    folder.close()
    assert [there["update"] for there in folder.metrics().lines] == [1, 3, 4, 5]


def test_links_that_lead_out_of_a_run_are_refused(tmp_path):
    outside = tmp_path / "victim"
    outside.write_text("precious")
    for number, name in enumerate(("metrics.jsonl", "checkpoints", "checkpoints/final.ckpt")):
        folder = RunFolder.create(tmp_path / f"run {number}", {})
        folder.unlock()
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).symlink_to(outside)
        with pytest.raises(RunError, match=f"{name} is a link that leads out"):
            RunFolder.open(folder.path)
    # a link inside is harmless, and so are those that wandb keeps
    folder = RunFolder.create(tmp_path / "run", {})
    (folder.path / "latest").symlink_to("config.json")
    (folder.path / "wandb" / "run").mkdir(parents=True)
    (folder.path / "wandb" / "run" / "debug.log").symlink_to(outside)
    RunFolder.open(folder.path)
    shutil.rmtree(folder.path / "wandb")
    (folder.path / "wandb").symlink_to(tmp_path)
    with pytest.raises(RunError, match="wandb is a link that leads out"):
        RunFolder.open(folder.path)


def test_writing_replaces_a_link_and_not_what_it_points_to(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    (tmp_path / "victim").write_text("precious")
    (folder.path / "notes.json").symlink_to(tmp_path / "victim")
    (folder.path / f".notes.json.{os.getpid()}").symlink_to(tmp_path / "victim")
    folder.write_json("notes.json", {"a": 1})
    assert (tmp_path / "victim").read_text() == "precious"
    assert folder.read_json("notes.json") == {"a": 1}
