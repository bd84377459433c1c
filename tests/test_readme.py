"""Commands in the documents work, and the targets of their links exist."""

import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rfo.cli import main as cli
from rfo.errors import SettingError
from rfo.experiment.catalogue import is_robot
from rfo.experiment.own import is_adapted, is_own
from rfo.experiment.presets import TASKS
from rfo.experiment.record import preset

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(document):
    """Lines of fenced blocks with shell commands, and inline commands of make and rfo."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    inline = [code.strip() for code in re.findall(r"(?<!`)`((?:make|rfo) [^`\n]+)`(?!`)", text)]
    return [LAUNCHER.sub("", line) for line in lines + inline if line]


LAUNCHER = re.compile(r"^(srun .*?|(\w+=\S+ )+)(?=rfo )")
"""What stands before `rfo` where something else starts it or sets its environment."""
COMMANDS = sorted({command for document in DOCUMENTS for command in commands(document)})
OUTER_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
"""Variables that `make test` passes on to an inner make."""
TEMPLATE = ROOT / "src" / "rfo" / "cli" / "template_task.py"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TEMPLATE = ROOT / "src" / "rfo" / "cli" / "template_task.py"


def test_the_two_commands_come_first():
    assert commands(ROOT / "README.md")[:2] == ["make train", "make test"]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make")])
def test_make_command_is_a_target_with_known_variables(command):
    fresh = {name: value for name, value in os.environ.items() if name not in OUTER_MAKE}
    done = subprocess.run(
        [*shlex.split(command), "--dry-run"], cwd=ROOT, env=fresh, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    _, target, *settings = shlex.split(command)
    assert target in MAKE_TARGETS
    for setting in settings:
        name, _, value = setting.partition("=")
        assert name == "PYTHON" or value in shlex.split(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("rfo")])
def test_rfo_command_is_understood(command, tmp_path, monkeypatch):
    """In a folder with the files that a reader has made by then."""
    monkeypatch.chdir(tmp_path)
    Path("my_task.py").write_text(TEMPLATE.read_text(encoding="utf-8"), encoding="utf-8")
    Path("ant.toml").write_text(preset("ant", "sapo").to_toml(), encoding="utf-8")
    page = (ROOT / "docs" / "robots.md").read_text(encoding="utf-8")
    (dog,) = re.findall(r"^```toml\n(.*?dog\.xml.*?)^```", page, re.DOTALL | re.MULTILINE)
    Path("dog.toml").write_text(dog.replace("examples", f"{ROOT.as_posix()}/examples"))
    arguments = shlex.split(command.partition(" > ")[0])[1:]
    if "--help" in arguments:
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert not stop.value.code
        arguments.remove("--help")
    options = cli.command(arguments).options
    for task in getattr(options, "tasks", [getattr(options, "task", "ant") or ""]):
        known = task in TASKS or is_robot(task) or is_own(task) or is_adapted(task)
        assert known or not task, "a command named in passing may leave out its task"


@pytest.mark.parametrize(
    "wrong", ["train ant --c-pst 0.3", "evaluate RUN", "eval RUN --episodes many"]
)
def test_wrong_command_would_be_noticed(wrong):
    with pytest.raises(SettingError):
        cli.command(shlex.split(wrong))


def test_every_other_command_is_covered():
    others = {c for c in COMMANDS if c.split()[0] not in ("make", "rfo")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {f"pip install 'rfo[{extra}]'" for extra in project["optional-dependencies"]}
    scripts = [*EXAMPLES, *(ROOT / "bench").rglob("*.py")]
    examples = {f"python {path.relative_to(ROOT).as_posix()}" for path in scripts}
    assert {" ".join(c.split()[:2]) for c in others - extras} <= examples


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    """Fewer steps and episodes, a small network, and the method that compiles fastest.

    As many episodes as the run's own evaluation, whose program then serves again."""
    small = "512, horizon=4, environments=4, **{'network.hidden': (8,)}"
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    for block in blocks:
        for there, here in (
            ('"rfo", steps', '"apg", steps'),
            ("262_144", small),
            ("524_288", "1024"),
            ("episodes=128", "episodes=8"),
        ):
            assert there in block
            block = block.replace(there, here)
        monkeypatch.chdir(tmp_path)
        names = {}
        exec(block, names)
        assert names["action"].shape == (1,)
        assert names["run"].metrics["env_steps"][-1] == 1024


def test_list_runs(capsys):
    assert cli.main(["list"]) == 0
    assert "ant" in capsys.readouterr().out


@pytest.mark.parametrize("path", [*EXAMPLES, TEMPLATE], ids=lambda path: path.name)
def test_what_a_user_starts_from_needs_the_public_library_alone(path):
    """What runs an exported policy needs not even that."""
    modules = re.findall(r"^ *(?:from|import) (\S+)", path.read_text(encoding="utf-8"), re.M)
    assert not [name for name in modules if name.startswith("rfo.")]
    assert ("rfo" in modules) == (path.name != "deploy.py")


@pytest.mark.long
def test_example_of_an_own_task_learns():
    before, after = runpy.run_path(str(ROOT / "examples" / "own_task.py"))["main"](updates=20)
    assert after > before / 2, "twice as near to the target as the untrained policy"


def test_example_of_demonstrations_passes_on_both_sides_of_the_column():
    demos = runpy.run_path(str(ROOT / "examples" / "demonstrations.py"))["demonstrations"](32)
    paths = demos.observation.reshape(32, -1, 2)
    sides = paths[range(32), abs(paths[..., 0]).argmin(axis=1), 1]
    assert 8 < (sides > 0.4).sum() < 24 and (abs(sides) > 0.4).all()
    assert -40 < demos.returns.mean() < -25


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_names_of_the_code_exist(document):
    """Checks paths and names such as `room.module.name` in backticks."""
    for code in re.findall(r"`([\w./]+)`", document.read_text(encoding="utf-8")):
        if "/" in code and not code.startswith(".venv"):  # made by make install
            assert any((base / code).exists() for base in (ROOT, ROOT / "src" / "rfo")), code
        elif re.match(r"(physics|envs|policies|algos|train|experiment|lab|cli|view)\.", code):
            path, names = ROOT / "src" / "rfo", code.split(".")
            while names and (path / names[0]).is_dir():
                path /= names.pop(0)
            path /= f"{names.pop(0)}.py" if names else "__init__.py"
            assert path.exists(), code
            if names:
                assert re.search(rf"^(class|def) {names[0]}\b", path.read_text(), re.MULTILINE), (
                    code
                )


def test_python_of_this_environment_is_supported():
    assert (3, 11) <= sys.version_info[:2] <= (3, 13)
