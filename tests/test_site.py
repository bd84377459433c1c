"""The documentation's site: every page is in its menu, what is made from the code is whole, and the
notebooks were executed from top to bottom. `make docs` builds it and checks all links."""

import ast
import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import rfo
from rfo.cli.main import COMMANDS
from rfo.experiment.presets import METHODS, TASKS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NOTEBOOKS = sorted((DOCS / "tutorials").glob("*.ipynb"))
LARGEST_NOTEBOOK = 200_000


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without what Python objects its tags name."""


Loader.add_multi_constructor("!!python/", lambda *_: None)
Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def leaves(nav):
    for entry in nav:
        value = entry if isinstance(entry, str) else next(iter(entry.values()))
        yield from [value] if isinstance(value, str) else leaves(value)


def test_pages_load_nothing_from_elsewhere():
    """The plugin for offline pages names a script of a CDN unless it has one of ours."""
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    assert config["theme"]["font"] is False
    (script,) = config["extra"]["polyfills"]
    assert "iframe-worker" in script and (DOCS / script).is_file()
    assert (DOCS / script).with_name("LICENSE.iframe-worker").is_file()


@pytest.fixture(scope="module")
def reference():
    """What makes pages from the code."""
    return SimpleNamespace(**runpy.run_path(str(DOCS / "hooks" / "reference.py")))


def test_every_page_is_in_the_menu_and_the_other_way_round(reference):
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    pages |= {f"tutorials/{path.stem}.md" for path in NOTEBOOKS}
    pages |= {f"reference/{name}.md" for name in reference.PAGES}
    assert sorted(leaves(config["nav"])) == sorted(pages), "add the page to nav in mkdocs.yml"


def test_the_commands_are_described_with_all_their_options(reference):
    page = reference.commands()
    for name in COMMANDS:
        assert f"## rfo {name}\n" in page
    for option in ("--episodes", "--deterministic", "--horizons", "--executor", "--slurm.hours"):
        assert f"`{option}`" in page
    assert "| `--steps` | `INT` | Environment steps of the whole training" in page


def test_the_settings_of_every_method_are_described(reference):
    page = reference.settings()
    for name in METHODS:
        assert f"## {name}\n" in page or f"| `{name}` |" in page
    for name in TASKS:
        assert f"\n| `{name}` |" in page
    rows = re.findall(r"^\| `([\w.]+)` \| `([^`]*)` \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) > 200
    assert [name for name, _, meaning in rows if len(meaning) < 10] == []
    for name, default in {"environments": "64", "critic.iterations": "16", "c_uni": "0.1"}.items():
        assert (name, default) in {row[:2] for row in rows}


def test_the_python_page_has_every_public_name(reference):
    page = reference.python()
    named = {line.rpartition(".")[2] for line in page.splitlines() if line.startswith(":::")}
    assert {getattr(rfo, name).__qualname__ for name in rfo.__all__} == named


def code_cells(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_executed_in_order_without_errors(notebook):
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert "error" not in kinds and kinds & {"display_data", "stream"}
    assert notebook.stat().st_size < LARGEST_NOTEBOOK
    assert str(Path.home()) not in notebook.read_text(encoding="utf-8")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_public_names(notebook):
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            owner = getattr(node, "value", None)
            if isinstance(node, ast.Attribute) and isinstance(owner, ast.Name):
                assert owner.id != "rfo" or node.attr in rfo.__all__, node.attr
