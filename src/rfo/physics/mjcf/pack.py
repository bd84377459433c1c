"""An MJCF file with all that belongs to it, as a few files that load anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

FOLDERS = ("assetdir", "meshdir", "texturedir")
"""Attributes of `compiler` that name folders of assets, relative to the file that is loaded."""
NAMED_BY_FILE = ("mesh", "texture", "hfield", "skin")
"""Assets that are called after their files if they have no name."""
MODEL = "model.xml"
"""Name of the MJCF file in a pack."""


def pack(path: Path) -> dict[str, bytes]:
    """Collect what an MJCF file is made of: included files become part of it, assets lie beside it.

    Numbers stay as they are written, so that the pack compiles to the same model. Comments and
    layout are left out: equal models have equal packs, wherever their files lie.

    Args:
        path: an MJCF file that compiles.

    Returns:
        contents by name: the MJCF file as `MODEL`, assets under names made of their contents.

    Raises:
        FileNotFoundError: for a file that is named and not there.
        ValueError: for a file that is not XML.
    """
    root = _read(path)
    _inline(root, path.parent, path.parent, (path.resolve(),))
    folders = [path.parent / there for there in _take_folders(root)]
    files: dict[str, bytes] = {}
    for element, attribute, value in list(_named_files(root)):
        source = _find(value, [*folders, path.parent], path)
        if element.tag == "model":  # another MJCF file, which is attached
            inner = pack(source)
            content = inner.pop(MODEL)
            files |= inner
        else:
            content = source.read_bytes()
        if element.tag in NAMED_BY_FILE and "name" not in element.attrib:
            element.set("name", Path(value).stem)
        name = f"{hashlib.sha256(content).hexdigest()[:16]}{source.suffix.lower()}"
        element.set(attribute, name)
        files[name] = content
    ElementTree.indent(root)
    return {MODEL: ElementTree.tostring(root, encoding="utf-8") + b"\n", **files}


def digest(files: dict[str, bytes]) -> str:
    """Hash of a pack's content, in hexadecimal."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\n{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return total.hexdigest()


def model_name(files: dict[str, bytes]) -> str:
    """What a pack's model calls itself, "robot" if it does not."""
    return ElementTree.fromstring(files[MODEL]).get("model") or "robot"


def _read(path: Path) -> Element:
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not XML: {error}") from None


def _inline(element: Element, home: Path, here: Path, above: tuple[Path, ...]) -> None:
    """Put the content of included files in place of the `include` elements in an element.

    Args:
        element: changed in place.
        home: folder of the file that is loaded.
        here: folder of the file that the element comes from.
        above: the files that include it.
    """
    for child in list(element):
        if child.tag != "include":
            _inline(child, home, here, above)
            continue
        source = _find(child.get("file", ""), [home, here], above[-1])
        if source.resolve() in above:
            raise ValueError(f"{source} includes itself")
        included = _read(source)
        _inline(included, home, source.parent, (*above, source.resolve()))
        place = list(element).index(child)
        element.remove(child)
        for offset, content in enumerate(list(included)):
            element.insert(place + offset, content)


def _take_folders(root: Element) -> list[str]:
    """Remove from a model what says where its assets are, and return the folders."""
    found = []
    for compiler in root.iter("compiler"):
        found += [compiler.attrib.pop(name) for name in FOLDERS if name in compiler.attrib]
    return found


def _named_files(root: Element) -> Iterator[tuple[Element, str, str]]:
    """Every attribute that names a file: the element, the attribute's name, its value."""
    for element in root.iter():
        for name, value in element.attrib.items():
            if name.startswith("file"):  # a cube's texture has `fileup` and five more
                yield element, name, value


def _find(value: str, folders: list[Path], by: Path) -> Path:
    """The file that a name means, or the name without its path (`strippath`), in the first folder
    that has it."""
    for name in (value, Path(value).name):
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
    raise FileNotFoundError(f"{by} names the file {value}, which is not there")
