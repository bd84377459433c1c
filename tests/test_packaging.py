"""Dependencies, pinned versions, the wheel and the licences."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import rfo

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [
    line
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line[:1] not in ("", "#")
]
PACKAGE_OF = {
    "warp": "warp-lang",
    "PIL": "pillow",
    "mujoco_playground": "playground",
    "yaml": "pyyaml",
}
"""Distribution of an import whose name differs."""
ADAPTED = ("minari", "brax", "playground", "gymnax")
"""Extras that bring other people's environments and data."""
BROUGHT = ("IPython",)
"""Imported only where it is there already: in a notebook."""
FOR_DEVELOPERS = (".sh", "compile_flags.txt")
"""Ends of the names of files that the package does not read."""


def tracked():
    """Paths of all committed files."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    return [Path(name) for name in names.decode().split("\0") if name and (ROOT / name).exists()]


def requirements(*extras):
    lines = [
        *PROJECT["dependencies"],
        *(line for x in extras for line in PROJECT["optional-dependencies"][x]),
    ]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def test_locked_versions_install_on_the_first_python_that_is_promised():
    """A patch release that a package asks for would leave out the Python of a distribution."""
    first = PROJECT["requires-python"].split(",")[0].removeprefix(">=") + ".0"
    locked, refused = dict(line.split("==") for line in PINS), []
    for found in metadata.distributions():
        wants = found.metadata["Requires-Python"]
        if locked.get(found.metadata["Name"]) == found.version and wants:
            refused += [f"{found.name} wants {wants}"] * (first not in SpecifierSet(wants))
    assert refused == []


def test_constraints_are_names_and_versions_only():
    for line in PINS:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line
    names = [canonicalize_name(line.partition("==")[0]) for line in PINS]
    assert len(names) == len(set(names))


def test_constraints_pin_the_whole_environment_within_what_the_project_allows():
    pins = {
        canonicalize_name(name): version for name, _, version in (p.partition("==") for p in PINS)
    }
    waiting, seen = [*requirements("dev", "docs", "wandb", *ADAPTED).values()], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is not pinned"
        assert requirement.specifier.contains(pins[name]), f"{requirement} excludes {pins[name]}"
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                further = map(Requirement, metadata.distribution(name).requires or [])
            except metadata.PackageNotFoundError:  # of an extra: `make extras`, `make docs`
                continue
            waiting += [
                r for r in further if r.marker is None or r.marker.evaluate({"extra": extra})
            ]


def third_party(folder, own=()):
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in (name.partition(".")[0] for name in names):
                if name not in sys.stdlib_module_names and name not in ("rfo", *BROUGHT, *own):
                    yield name, path


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("src", ("peers", "wandb", "sweep", "slurm", "onnx", "video", "gymnasium", *ADAPTED)),
        ("examples", ("onnx",)),
        ("bench", ("peers",)),
        ("tests", ("dev",)),
    ],
)
def test_every_import_is_declared(folder, extras):
    declared = requirements(*extras)
    own = {path.stem for path in (ROOT / folder).rglob("*.py")}
    for name, path in third_party(folder, own):
        assert canonicalize_name(PACKAGE_OF.get(name, name)) in declared, f"{path} imports {name}"


def test_every_dependency_is_imported():
    imported = {canonicalize_name(PACKAGE_OF.get(name, name)) for name, _ in third_party("src")}
    assert set(requirements()) <= imported


def test_version_is_the_same_everywhere():
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert citation
    assert "version" in PROJECT["dynamic"]  # read from rfo/__init__.py
    assert rfo.__version__ == citation[1]


def test_committed_files_are_small():
    large = [path for path in tracked() if (ROOT / path).stat().st_size >= 1_000_000]
    assert large == []


@pytest.mark.timeout(180)
def test_wheel_holds_the_package_and_nothing_else(tmp_path):
    source = tmp_path / "source"
    for path in tracked():
        if path.parts[0] == "src" or path.name in ("pyproject.toml", "README.md", "LICENSE"):
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, source / path)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    done = subprocess.run(
        [*build, "--disable-pip-version-check", "-w", tmp_path, source],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    needed = {path.relative_to("src").as_posix() for path in tracked() if path.parts[0] == "src"}
    assert {name for name in held if ".dist-info/" not in name} == {
        name for name in needed if not name.endswith(FOR_DEVELOPERS)
    }
    licences = {name.rpartition("/")[2] for name in held if "/licenses/" in name}
    assert licences == {"LICENSE", "LICENSE.three"}


def test_make_tells_in_one_line_that_python_is_too_old(tmp_path):
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)

    def install(python):
        return subprocess.run(
            ["make", "install", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True
        )

    done = install(old)
    assert done.returncode != 0
    assert "needs Python 3.11 to 3.13" in done.stderr and "is Python 3.9.2" in done.stderr
    done = install("no-such-python")
    assert done.returncode != 0 and "no no-such-python here" in done.stderr
    assert not (tmp_path / ".venv").exists()
