"""Run folders: nothing is overwritten, and what is written can be read."""

import json
import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from rfo.train.record import RunError, RunFolder, default_path, plain, provenance


def line(update):
    return {
        "update": update,
        "env_steps": 10 * update,
        "seconds": 0.5 * update,
        "return_mean": None if update == 1 else 2.5,
        "loss": float("nan") if update == 2 else 1.5,
    }


def events(folder):
    """(step, {tag: value}) of every event, by the record format: length, checksum, data, checksum."""
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


def test_events_can_be_watched_while_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("rfo.train.record.FLUSH_INTERVAL", 0.0)
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
    monkeypatch.setattr("rfo.train.record.time.strftime", lambda _: "now")
    first = default_path("ant", "rfo", 3)
    first.mkdir(parents=True)
    assert str(first) == "runs/ant-rfo-s3-now"
    assert str(default_path("ant", "rfo", 3)) == "runs/ant-rfo-s3-now-2"
