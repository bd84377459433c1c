"""Which part of the package may import which, and where third parties may be imported."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "rfo"
MODULES = {
    ".".join(("rfo", *path.relative_to(SOURCE).with_suffix("").parts)): path
    for path in sorted(SOURCE.rglob("*.py"))
}

LEAVES = ("rfo.types", "rfo.errors")
BELOW_RUNS = (
    *LEAVES,
    "rfo.physics",
    "rfo.envs",
    "rfo.policies",
    "rfo.algos",
    "rfo.training",
    "rfo.view",
)

ALLOWED = {
    "rfo.types": (),
    "rfo.errors": (),
    "rfo.physics": (*LEAVES, "rfo.physics"),
    "rfo.envs.base": LEAVES,
    "rfo.envs.batch": (*LEAVES, "rfo.envs.base"),
    "rfo.envs": (*LEAVES, "rfo.physics", "rfo.envs"),
    "rfo.policies": (*LEAVES, "rfo.policies"),
    "rfo.algos": (*LEAVES, "rfo.policies", "rfo.envs.base", "rfo.envs.batch", "rfo.algos"),
    "rfo.training": (
        *LEAVES,
        "rfo.algos.base",
        "rfo.envs.base",
        "rfo.envs.batch",
        "rfo.training",
        "rfo.view",
    ),
    "rfo.view": ("rfo.view",),
    "rfo.experiment": (*BELOW_RUNS, "rfo.experiment"),
    "rfo.experiment.run": (*BELOW_RUNS, "rfo.experiment", "rfo.deploy"),
    "rfo.deploy": (*BELOW_RUNS, "rfo.experiment", "rfo.deploy"),
    "rfo.lab": (*BELOW_RUNS, "rfo.experiment", "rfo.lab"),
}
"""Modules of rfo that a part of the package may import; the longest name that matches a module
counts. Parts that are not listed may import everything. Nothing outside of the command line imports
it."""

FENCES = {
    "warp": ("rfo.physics",),
    "mujoco": ("rfo.physics.mjcf", "rfo.envs.judge", "rfo.lab.speed.mjx"),
    "meshio": ("rfo.physics.mesh",),
    "tyro": ("rfo.cli",),
    "tensorboardX": ("rfo.training.loggers",),
    "wandb": ("rfo.training.loggers",),
    "optuna": (
        "rfo.lab.search",
        "rfo.lab.sweep",
        "rfo.lab.sweep_figures",
        "rfo.lab.sweep_report",
        "rfo.cli.sweep",
    ),
    "submitit": ("rfo.lab.slurm",),
    "jax2onnx": ("rfo.deploy.export",),
    "onnxruntime": ("rfo.deploy.export",),
    "gymnasium": ("rfo.envs.adapters.gymnasium", "rfo.envs.adapters.minari"),
    "minari": ("rfo.envs.adapters.minari",),
    "brax": ("rfo.envs.adapters.brax", "rfo.envs.adapters.from_brax", "rfo.lab.speed.peer"),
    "mujoco_playground": ("rfo.envs.adapters.from_playground",),
    "gymnax": ("rfo.envs.adapters.from_gymnax",),
    "pyvista": ("rfo.deploy.figure", "rfo.deploy.video"),
    "imageio_ffmpeg": ("rfo.deploy.video",),
    "torch": (),
}
"""The only places where each third party may be imported."""

PLOTTING = {"numpy", "scipy", "matplotlib", "PIL", "rich"}
"""Third parties that code which reads finished runs may import."""


def within(module, rooms):
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


@cache
def statements(path):
    """All import statements of a file, also inside of functions."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def imports(path):
    """Absolute names of all modules that a file imports."""
    package = ".".join(("rfo", *path.relative_to(SOURCE).parent.parts))
    for node in statements(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            parents = package.split(".")
            prefix = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*prefix, *([node.module] if node.module else [])])
            submodules = [f"{base}.{alias.name}" for alias in node.names]
            found = [
                name for name in submodules if name in MODULES or f"{name}.__init__" in MODULES
            ]
            yield from found or [base]


def allowed(module):
    rooms = [room for room in ALLOWED if within(module, [room])]
    return ALLOWED[max(rooms, key=len)] if rooms else None


@pytest.mark.parametrize("module", MODULES)
def test_rooms_import_only_what_their_walls_let_through(module):
    walls = allowed(module)
    for name in imports(MODULES[module]):
        if not within(name, ["rfo"]):
            continue
        if not within(module, ["rfo.cli"]):
            assert not within(name, ["rfo.cli"]), f"{module} imports the command line"
        if walls is not None and name != "rfo":
            assert within(name, walls), f"{module} must not import {name}"


@pytest.mark.parametrize("module", MODULES)
def test_private_names_stay_in_their_files(module):
    for node in statements(MODULES[module]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rfo"):
            private = [alias.name for alias in node.names if alias.name.startswith("_")]
            assert not private, f"{module} imports {', '.join(private)} of {node.module}"


@pytest.mark.parametrize("party", FENCES)
def test_third_parties_stay_behind_their_fences(party):
    users = [
        module for module, path in MODULES.items() if any(within(n, [party]) for n in imports(path))
    ]
    strangers = [module for module in users if not within(module, FENCES[party])]
    assert not strangers, f"{party} is imported in {', '.join(strangers)}"


@pytest.mark.parametrize("module", [m for m in MODULES if within(m, ["rfo.view"])])
def test_the_view_reads_files_with_plain_tools(module):
    for name in imports(MODULES[module]):
        top = name.split(".")[0]
        assert top in sys.stdlib_module_names or top in PLOTTING or top in ("rfo", "__future__"), (
            f"{module} must not import {name}"
        )


def test_the_walk_sees_imports_in_functions_and_of_submodules(tmp_path):
    """The checks above would also pass if no import was found, so these must be found."""
    assert "warp" in set(imports(SOURCE / "physics" / "bridge.py"))
    assert "rfo.envs.batch" in set(imports(SOURCE / "experiment" / "build.py"))  # inside a function
    assert "rfo.training.checkpoint" in set(
        imports(SOURCE / "training" / "trainer.py")
    )  # from rfo.training import
    assert not within("rfo.envs.tasks.ant", ALLOWED["rfo.training"])
    assert allowed("rfo.envs.batch") == (*LEAVES, "rfo.envs.base")
