"""Checkpoints: a whole training state with a hash of its content.

A file is one line of JSON (format, hash, size, and what the trainer says about its progress)
followed by the leaves of the state in the order of the pytree.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from rfo.errors import RunError
from rfo.training.record import plain, write_atomically
from rfo.types import PyTree

FORMAT = 1
KEPT = 2
"""Checkpoints kept beside the final one."""
FINAL = "final.ckpt"


class DamagedError(RunError):
    """A checkpoint whose content is not what was written."""


def save(path: Path, state: PyTree, progress: dict[str, Any]) -> None:
    """Write a state atomically.

    Args:
        path: file to write; its folder is made if it is missing, the one around that is not.
        state: any pytree; leaves that are not arrays belong to the program and are left out.
        progress: JSON-ready facts to read back with it.

    Raises:
        OSError: if it cannot be written; an older file of that name stays as it was.
    """
    payload = BytesIO()
    eqx.tree_serialise_leaves(payload, _raw_keys(state))
    content = payload.getvalue()
    told = json.dumps(plain(progress), sort_keys=True, allow_nan=False)
    header = {
        "format": FORMAT,
        "sha256": _digest(told, content),
        "bytes": len(content),
        "progress": told,
    }
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, json.dumps(header).encode() + b"\n" + content)


def load(path: Path, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """Read a state back, bit for bit.

    Args:
        path: file written by `save`.
        like: pytree of the same structure, its arrays real or `jax.ShapeDtypeStruct`.

    Raises:
        DamagedError: if the file is truncated or altered.
        RunError: if it is missing or belongs to another configuration.
    """
    try:
        header_line, _, content = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    try:
        header = json.loads(header_line)
        kind, told = header["format"], header["progress"]
        intact = header["bytes"] == len(content) and header["sha256"] == _digest(told, content)
        progress = json.loads(told)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        intact, progress = False, None
    if not (intact and isinstance(progress, dict)):
        raise DamagedError(f"{path} is damaged (its content does not match its hash)")
    if kind != FORMAT:
        raise RunError(f"{path} has checkpoint format {kind}; this version reads {FORMAT}")
    try:
        # reads arrays only: NumPy refuses pickled objects, which could run code
        raw = eqx.tree_deserialise_leaves(BytesIO(content), _raw_keys(like))
    except Exception as error:  # whatever a wrong shape, type or count of leaves raises in there
        raise RunError(
            f"{path} does not fit its config.json: was that edited, or rfo updated?"
        ) from error
    return _typed_keys(raw, like), progress


def load_latest(
    folder: Path, like: PyTree, notice: Callable[[str], None]
) -> tuple[PyTree, dict[str, Any]]:
    """Read the newest checkpoint that is intact; `notice` is told of each damaged one passed over.

    Raises:
        RunError: if there is none.
    """
    paths = newest_first(folder)
    if not paths:
        raise RunError(
            f"no checkpoint in {folder}: the run ended before its first one; train again"
        )
    for path in paths:
        try:
            return load(path, like)
        except DamagedError as damage:
            notice(f"{damage}; falling back to the one before")
    names = ", ".join(path.name for path in paths)
    raise RunError(
        f"every checkpoint in {folder} is damaged ({names}); restore a copy or train again"
    )


def reopen(folder: Path, like: PyTree) -> None:
    """Give the final checkpoint of a run that goes on its number, or remove it if it is damaged."""
    final = folder / FINAL
    if not final.exists():
        return
    try:
        _, progress = load(final, like)
    except DamagedError:
        final.unlink()
    else:
        os.replace(final, path_after(folder, progress["update"]))


def newest_first(folder: Path) -> list[Path]:
    """Checkpoints of a run, the final one first, then by update."""
    numbered = sorted(folder.glob("update-*.ckpt"), reverse=True)
    final = folder / FINAL
    return ([final] if final.exists() else []) + numbered


def path_after(folder: Path, update: int) -> Path:
    """Path of the checkpoint after an update."""
    return folder / f"update-{update:08d}.ckpt"


def prune(folder: Path) -> None:
    """Remove all numbered checkpoints but the newest `KEPT`."""
    for path in sorted(folder.glob("update-*.ckpt"))[:-KEPT]:
        path.unlink()


def _digest(told: str, content: bytes) -> str:
    return hashlib.sha256(told.encode() + b"\n" + content).hexdigest()


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw_keys(tree: PyTree) -> PyTree:
    """The tree with random keys as plain integers; shapes in place of arrays stay shapes."""

    def raw(leaf: Any) -> Any:
        if not _is_key(leaf):
            return leaf
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jax.eval_shape(jax.random.key_data, leaf)
        return jax.random.key_data(leaf)

    return jax.tree.map(raw, tree)


def _typed_keys(tree: PyTree, like: PyTree) -> PyTree:
    """Undo `_raw_keys` where `like` has keys."""

    def typed(leaf: Any, kind: Any) -> Any:
        return jax.random.wrap_key_data(leaf) if _is_key(kind) else leaf

    return jax.tree.map(typed, tree, like)
