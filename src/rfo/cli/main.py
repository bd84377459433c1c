"""The command line: reads `rfo NAME ...`, runs it, and tells in one line what goes wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from rfo.cli import options, settings
from rfo.cli.settings import Settings, TaskChoice
from rfo.errors import RunError, SettingError, unknown
from rfo.training.output import outliving_output

COMMANDS = {
    "list": "list.List",
    "show": "show.Show",
    "estimate": "estimate.Estimate",
    "train": "train.Train",
    "collect": "collect.Collect",
    "clone": "clone.Clone",
    "eval": "eval.Eval",
    "watch": "watch.Watch",
    "record": "record.Record",
    "export": "export.Export",
    "check-grad": "check_grad.CheckGrad",
    "identify": "identify.Identify",
    "new-task": "new_task.NewTask",
    "bench speed": "bench_speed.BenchSpeed",
    "bench learn": "bench_learn.BenchLearn",
    "sweep": "sweep.Sweep",
    "report": "report.Report",
}
"""Modules and classes of the commands, below `rfo.cli`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    with outliving_output():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(overview())
            return 0
        if arguments[0] == "--version":
            print(version())
            return 0
        configure()
        return command(arguments).run()
    except SettingError as error:
        return fail(str(error), status=2)
    except RunError as error:
        return fail(str(error), status=1)
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise  # no file of the user's
        return fail(f"{error.filename}: {error.strerror}", status=1)
    except KeyboardInterrupt:
        return fail("interrupted; checkpoints written before are intact", status=130)


def fail(message: str, status: int) -> int:
    """Print one line on stderr."""
    print(f"rfo: {' '.join(message.split())}", file=sys.stderr)
    return status


def find(name: str) -> type:
    """Class of a command."""
    module, kind = COMMANDS[name].split(".")
    return getattr(import_module(f"rfo.cli.{module}"), kind)


def overview() -> str:
    """Help of `rfo` itself."""
    lines = [
        "usage: rfo COMMAND ...",
        "",
        "Train flow policies through differentiable physics.",
        "",
    ]
    lines += [f"  rfo {name:<12} {(find(name).__doc__ or '').splitlines()[0]}" for name in COMMANDS]
    lines += [
        "",
        "`rfo COMMAND --help` explains a command, `rfo --version` tells versions and device.",
        "Start with: rfo train cartpole",
    ]
    return "\n".join(lines)


def version() -> str:
    """Versions of rfo and JAX, and the device that programs run on."""
    import jax

    import rfo

    device = jax.devices()[0]
    return f"rfo {rfo.__version__}, jax {jax.__version__}, {device.platform} ({device.device_kind})"


class Command(NamedTuple):
    """A command with its options read."""

    options: Any
    run: Callable[[], int]


def command(arguments: list[str]) -> Command:
    """The command that the arguments ask for.

    Raises:
        SettingError: for a command or options that are refused.
    """
    name, rest = arguments[0], arguments[1:]
    if name == "bench":
        if rest[:1] not in (["speed"], ["learn"]):
            raise SettingError("`rfo bench` measures speed or learning: rfo bench speed | learn")
        name, rest = f"bench {rest[0]}", rest[1:]
    if name not in COMMANDS:
        raise SettingError(unknown("command", name, COMMANDS))
    if name == "train" and any(word.partition("=")[0] == "--resume" for word in rest):
        from rfo.cli.resume import Resume

        resumed = options.parse(Resume, "train", rest)
        return Command(resumed, resumed.run)
    kind = find(name)
    if issubclass(kind, Settings):
        parsed, experiment = settings.parse(kind, name, rest)
        return Command(parsed, lambda: parsed.run(experiment()))
    read = settings.parse_choice if issubclass(kind, TaskChoice) else options.parse
    parsed = read(kind, name, rest)
    return Command(parsed, parsed.run)


def configure() -> None:
    """Settings of this process: quiet libraries, and compiled programs kept between processes."""
    # XLA's errors come as exceptions; all that it logs as one is that compiling takes long
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rfo" / "jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
