"""Checkpoints come back bit for bit, or not at all."""

import errno
import hashlib
import json
import os
from io import BytesIO

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import leaves

from rfo.training import checkpoint
from rfo.training.record import RunError

STATE = {
    "weights": jnp.array([[1.0, np.pi], [-0.0, 1e-40]]),
    "key": jax.random.key(7),
    "keys": jax.random.split(jax.random.key(1), 3),
    "count": jnp.array(3, jnp.int32),
    "mask": jnp.array([True, False]),
}
LIKE = jax.eval_shape(lambda: STATE)


def save_two(folder):
    for update in (1, 2):
        state = {**STATE, "count": jnp.array(update, jnp.int32)}
        checkpoint.save(checkpoint.path_after(folder, update), state, {"update": update})


def spoil(path, how):
    content = bytearray(path.read_bytes())
    if how == "truncated":
        content = content[:-5]
    elif how == "bit flipped":
        content[-3] ^= 1
    elif how == "progress edited":
        content = bytearray(bytes(content).replace(b'\\"update\\": 2', b'\\"update\\": 9'))
    elif how == "empty":
        content = bytearray()
    path.write_bytes(bytes(content))


def test_state_and_progress_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "deep" / "a.ckpt"
    progress = {"update": 5, "seconds": 1.25, "window": [(2, 0.1)]}
    checkpoint.save(path, STATE, progress)
    state, told = checkpoint.load(path, LIKE)
    assert told == {"update": 5, "seconds": 1.25, "window": [[2, 0.1]]}
    for ours, theirs in zip(leaves(state), leaves(STATE), strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()
    assert jax.random.normal(state["key"]) == jax.random.normal(STATE["key"])


@pytest.mark.parametrize("how", ["truncated", "bit flipped", "progress edited", "empty"])
def test_damage_is_noticed_and_the_one_before_is_used(tmp_path, how):
    save_two(tmp_path)
    before = (newest := checkpoint.newest_first(tmp_path)[0]).read_bytes()
    spoil(newest, how)
    assert newest.read_bytes() != before
    with pytest.raises(checkpoint.DamagedError, match="damaged"):
        checkpoint.load(newest, LIKE)
    notices = []
    state, progress = checkpoint.load_latest(tmp_path, LIKE, notices.append)
    assert progress["update"] == 1 and state["count"] == 1
    assert len(notices) == 1 and newest.name in notices[0] and "\n" not in notices[0]


def test_without_an_intact_checkpoint_one_line_says_so(tmp_path):
    with pytest.raises(RunError, match="no checkpoint"):
        checkpoint.load_latest(tmp_path, LIKE, print)
    save_two(tmp_path)
    for path in checkpoint.newest_first(tmp_path):
        spoil(path, "truncated")
    with pytest.raises(RunError, match=r"every checkpoint .* is damaged"):
        checkpoint.load_latest(tmp_path, LIKE, lambda line: None)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": jax.ShapeDtypeStruct((3, 2), jnp.float32)},
        {"more": jax.ShapeDtypeStruct((), jnp.float32)},
    ],
)
def test_another_configuration_is_refused(tmp_path, change):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, STATE, {})
    with pytest.raises(RunError, match="does not fit"):
        checkpoint.load(path, {**LIKE, **change})


def test_a_checkpoint_of_someone_else_runs_no_code(tmp_path):
    """It has the right hash, and an array whose objects would run code when they are read."""

    class Evil:
        def __reduce__(self):
            return exec, ("raise SystemExit('executed')",)

    payload = BytesIO()
    np.save(payload, np.array([Evil()], dtype=object), allow_pickle=True)
    content, told = payload.getvalue(), "{}"
    digest = hashlib.sha256(told.encode() + b"\n" + content).hexdigest()
    header = {"format": 1, "sha256": digest, "bytes": len(content), "progress": told}
    (tmp_path / "a.ckpt").write_bytes(json.dumps(header).encode() + b"\n" + content)
    with pytest.raises(RunError, match="does not fit"):
        checkpoint.load(tmp_path / "a.ckpt", {"a": jax.ShapeDtypeStruct((1,), jnp.float32)})


@pytest.mark.parametrize("header", [b"null", b"[]", b'{"progress": 3}', b"{", b"[" * 100_000])
def test_a_header_of_any_content_is_damage(tmp_path, header):
    (tmp_path / "a.ckpt").write_bytes(header + b"\n")
    with pytest.raises(checkpoint.DamagedError):
        checkpoint.load(tmp_path / "a.ckpt", LIKE)


def test_full_disk_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, STATE, {"update": 1})
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, STATE, {"update": 2})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_pruning_keeps_the_newest_two_and_the_final_one(tmp_path):
    for update in (9, 10, 100):
        checkpoint.save(checkpoint.path_after(tmp_path, update), STATE, {})
    checkpoint.save(tmp_path / checkpoint.FINAL, STATE, {})
    checkpoint.prune(tmp_path)
    names = [path.name for path in checkpoint.newest_first(tmp_path)]
    assert names == ["final.ckpt", "update-00000100.ckpt", "update-00000010.ckpt"]
