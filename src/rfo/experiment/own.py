"""Users' own tasks, named by the place of their code: ``my_task.py:Reach``, ``my_package:Reach``.

Such a task is code that rfo runs. A user who names it on the command line or in a program wants
that. A run folder also names its task, but it may come from someone else. rfo runs the code that a
folder names only if the user of this machine has named the same code before, see `require_trust`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from rfo.errors import SettingError

SOURCES = ("brax", "playground", "gymnax")
"""Packages whose environments are tasks, see `rfo.envs.adapters`: ``brax:ant``."""


def is_adapted(name: str) -> bool:
    """Whether a task is an environment of another package."""
    return name.partition(":")[0] in SOURCES and ":" in name


def is_own(name: str) -> bool:
    """Whether a task is named by the place of its code."""
    return ":" in name and not is_adapted(name)


def split(name: str) -> tuple[str, str]:
    """Module or Python file, and class or function in it.

    Raises:
        SettingError: if one of the two is missing.
    """
    place, _, maker = name.rpartition(":")
    if not place or not maker.isidentifier():
        raise SettingError(
            f"a task of your own is named FILE.py:CLASS or MODULE:CLASS, not '{name}'", "task"
        )
    return place, maker


def located(name: str) -> str:
    """The same name with the absolute path of its file, so that it holds in any folder."""
    place, maker = split(name)
    return f"{Path(place).resolve()}:{maker}" if place.endswith(".py") else name


def load(place: str, maker: str) -> Callable[..., Any]:
    """Import the class or function that makes a task.

    Raises:
        SettingError: if it is not there, or its code cannot be imported.
    """
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    found = getattr(module, maker, None)
    if not callable(found):
        offered = [name for name, value in vars(module).items() if _makes_tasks(value, module)]
        hint = f"it has {', '.join(offered)}" if offered else "it has no class with reset and step"
        raise SettingError(f"{place} has no class or function {maker}: {hint}", "task")
    return found


def _makes_tasks(value: Any, module: Any) -> bool:
    return (
        isinstance(value, type)
        and value.__module__ == module.__name__
        and all(hasattr(value, method) for method in ("reset", "observe", "step"))
    )


def _import_module(name: str) -> Any:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # as `python -m` has it
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the task's own import fails: its traceback tells where
        raise SettingError(
            f"no module {error.name} for the task {name}: install it, or name the file, "
            f"as in my_task.py:Reach",
            "task",
        ) from None


def _import_file(path: Path) -> Any:
    path = path.resolve()
    if not path.is_file():
        raise SettingError(
            f"no file {path}; `rfo new-task {path.name}` writes one to start from", "task"
        )
    name = f"rfo_own_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, path  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.parent))  # as `python FILE` has it
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise SettingError(
            f"{path}, line {error.lineno} is not Python: {error.msg}", "task"
        ) from None
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module


def source(name: str) -> dict[str, Any]:
    """Where the code of a task comes from, ready for JSON: to tell later whether it has changed.

    Returns:
        `task`, `file`, `sha256` of the file's bytes, and of an installed package its `package` and
        `version`; an entry that is not known is None.
    """
    place, maker = split(name)
    file = sys.modules[load(place, maker).__module__].__file__
    package = next(iter(metadata.packages_distributions().get(place.split(".")[0], [])), None)
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
    return {
        "task": located(name),
        "file": file,
        "sha256": digest,
        "package": package,
        "version": metadata.version(package) if package else None,
    }


def changes(name: str, recorded: dict[str, Any]) -> str | None:
    """What has changed in a task's code since `source` described it; None if nothing has."""
    now = source(name)
    if now["version"] != recorded.get("version"):
        return (
            f"{now['package'] or recorded.get('package')} was {recorded.get('version')} when the "
            f"run was trained, and is {now['version']} now"
        )
    if now["sha256"] != recorded.get("sha256"):
        return f"{now['file']} has changed since the run was trained"
    return None


def _trusted_list() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "rfo" / "own_tasks"


def trust(name: str) -> None:
    """Remember that the user of this machine named a task of their own."""
    file, line = _trusted_list(), located(name)
    if is_trusted(name):
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as known:
            known.write(f"{line}\n")
    except OSError:  # a home that cannot be written to: `--task` names it again
        pass


def is_trusted(name: str) -> bool:
    """Whether the user of this machine named a task before."""
    try:
        return located(name) in _trusted_list().read_text(encoding="utf-8").splitlines()
    except OSError:
        return False


def require_trust(name: str, run: Path) -> None:
    """Refuse to run the code that a run folder names, unless the user named it before.

    Raises:
        SettingError: saying how to name it.
    """
    if not is_trusted(name):
        raise SettingError(
            f"{run} was trained on {name}, and to go on means to run that code. You have not named "
            f"it on this machine before: if you trust it, say so with --task {name}",
            "task",
        )
