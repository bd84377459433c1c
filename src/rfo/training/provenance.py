"""Where a run comes from: versions, revision and platform."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

REPORTED_PACKAGES = (
    "rfo",
    "jax",
    "jaxlib",
    "equinox",
    "optax",
    "warp-lang",
    "mujoco",
    "numpy",
    "scipy",
)
"""Packages whose versions are told."""


def provenance() -> dict[str, Any]:
    """Versions, git revision and platform of this process."""
    versions = {}
    for name in REPORTED_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "packages": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "git": git_revision(Path(__file__).parent),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def git_revision(folder: Path) -> str | None:
    """Revision of the source tree, with `-dirty` behind it if it has changes.

    None outside of a repository."""
    command = [
        "git",
        "-C",
        str(folder),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
