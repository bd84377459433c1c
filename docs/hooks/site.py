"""What mkdocs needs beyond the pages of this folder.

It adds pages that are made from the code (`reference.py`), the tutorials' notebooks as pages, and
whatever else of the repository a page links to: the site is whole without the repository.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))

import reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
LANGUAGES = {".py": "python", ".toml": "toml", ".xml": "xml", ".json": "json", ".h": "cpp"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for name, make in reference.PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=make()))
    for notebook in sorted((DOCS / "tutorials").glob("*.ipynb")):
        for path, content in notebook_page(notebook).items():
            files.append(File.generated(config, f"tutorials/{path}", content=content))
    for path in linked_outside():
        files.append(outside_file(path, config))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links out of the documentation at their copies in the site."""
    home = origin(page.file.src_uri).parent

    def moved(match: re.Match[str]) -> str:
        target, hash_, anchor = match[2].partition("#")
        if not target or "://" in target:
            return match[0]
        path = (home / target).resolve()
        place = path.relative_to(DOCS).as_posix() if path.is_relative_to(DOCS) else site_name(path)
        there = os.path.relpath(place, Path(page.file.src_uri).parent)
        return f"{match[1]}{there}{hash_}{anchor}{match[3]}"

    return LINK.sub(moved, markdown)


def notebook_page(notebook: Path) -> dict[str, Any]:
    """A notebook with its outputs as Markdown, and its pictures, by path in the tutorials' folder.

    Notebooks are executed by `make notebooks`, not here.
    """
    from nbconvert import MarkdownExporter

    exporter = MarkdownExporter()
    folder = f"{notebook.stem}_files"
    text, made = exporter.from_filename(
        str(notebook), {"unique_key": notebook.stem, "output_files_dir": folder}
    )
    download = f"\n[This page as a notebook]({notebook.name}), to run and change it.\n"
    title, _, rest = text.lstrip().partition("\n")
    return {f"{notebook.stem}.md": f"{title}\n{download}{rest}", **made["outputs"]}


def origin(name: str) -> Path:
    """Where a page of the site comes from."""
    path = Path(name)
    if path.parts[0] != "source":
        return DOCS / path
    text = path.relative_to("source").as_posix()
    return ROOT / (text if (ROOT / text).exists() else text.removesuffix(".md"))


def site_name(path: Path) -> str:
    """Name in the site of a file of the repository: source files become pages."""
    name = f"source/{path.relative_to(ROOT).as_posix()}"
    return f"{name}.md" if path.suffix in LANGUAGES else name


def linked_outside() -> list[Path]:
    """Files of the repository outside this folder that pages link to, and those that they do."""
    found: dict[Path, None] = {}
    waiting = sorted(DOCS.rglob("*.md"))
    while waiting:
        for path in targets(waiting.pop()):
            if path.is_file() and not path.is_relative_to(DOCS) and path not in found:
                found[path] = None
                waiting += [path] if path.suffix == ".md" else []
    return list(found)


def targets(document: Path) -> Iterator[Path]:
    """Files that a document links to."""
    for _, target, _ in LINK.findall(document.read_text(encoding="utf-8")):
        file = target.partition("#")[0]
        if file and "://" not in file:
            yield (document.parent / file).resolve()


def outside_file(path: Path, config: MkDocsConfig) -> File:
    """A file of the repository in the site."""
    name = site_name(path)
    if path.suffix not in LANGUAGES:
        return File.generated(config, name, abs_src_path=str(path))
    shown = path.relative_to(ROOT).as_posix()
    code = path.read_text(encoding="utf-8").rstrip()
    page = f"# {shown}\n\n````{LANGUAGES[path.suffix]}\n{code}\n````\n"
    return File.generated(config, name, content=page)
