"""The command line: reads `rfo NAME ...`, runs the command, and turns what goes wrong into one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rfo.cli.commands import BenchSpeed, CheckGrad, Eval, List, Resume, Train, UsageError, Watch
from rfo.cli.comparison import BenchLearn, MakeReport
from rfo.cli.options import parse, parse_train
from rfo.errors import RunError
from rfo.experiment import build as experiments
from rfo.experiment.build import ExperimentError
from rfo.train.output import outliving_output

COMMANDS: dict[str, type] = {
    "list": List,
    "train": Train,
    "eval": Eval,
    "watch": Watch,
    "check-grad": CheckGrad,
    "bench speed": BenchSpeed,
    "bench learn": BenchLearn,
    "report": MakeReport,
}


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
        configure()
        return command(arguments).run()
    except (UsageError, ExperimentError) as error:
        return fail(str(error), status=2)
    except RunError as error:
        return fail(str(error), status=1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}{error.strerror or error}", status=1)
    except KeyboardInterrupt:
        return fail("interrupted; checkpoints written before are intact", status=130)


def fail(message: str, status: int) -> int:
    """Print one line on stderr."""
    print(f"rfo: {' '.join(message.split())}", file=sys.stderr)
    return status


def overview() -> str:
    """Help of `rfo` itself."""
    lines = [
        "usage: rfo COMMAND ...",
        "",
        "Train flow policies through differentiable physics.",
        "",
    ]
    lines += [
        f"  rfo {name:<12} {(kind.__doc__ or '').splitlines()[0]}"
        for name, kind in COMMANDS.items()
    ]
    lines += ["", "`rfo COMMAND --help` explains a command. Start with: rfo train cartpole"]
    return "\n".join(lines)


def command(arguments: list[str]) -> Any:
    """The command that the arguments ask for, with its options."""
    name, rest = arguments[0], arguments[1:]
    if name == "bench":
        if rest[:1] not in (["speed"], ["learn"]):
            raise UsageError("`rfo bench` measures speed or learning: rfo bench speed | learn")
        name, rest = f"bench {rest[0]}", rest[1:]
    if name not in COMMANDS:
        raise UsageError(experiments.unknown("command", name, COMMANDS))
    if name == "train":
        resuming = any(word.split("=")[0] == "--resume" for word in rest)
        return parse(Resume, "train", rest) if resuming else parse_train(rest)
    return parse(COMMANDS[name], name, rest)


def configure() -> None:
    """Settings of this process: quiet libraries, and compiled programs kept between processes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rfo" / "jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
