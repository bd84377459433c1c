"""Run a suite of trainings, one process a core, skipping what is finished.

    python bench/learning/run.py bench/learning/ant_sweep.json --runs runs/ant_sweep --cores 0 1 2 3

A suite maps the name of a cell to the arguments of `rfo train`. All seeds of a cell are one program on one
core; a cell that fails is reported and does not stop the others.
"""

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path


def train(cell: str, arguments: list[str], folder: Path, core: int) -> bool:
    """Train one cell on one core; True if it ended well."""
    command = [
        sys.executable,
        "-m",
        "rfo.cli",
        "train",
        *arguments,
        "--threads",
        "1",
        "--out",
        str(folder / cell),
    ]
    (folder / cell).parent.mkdir(parents=True, exist_ok=True)  # a cell may be RFO/s0, of the cell RFO
    with (folder / f"{cell}.log").open("w") as log:
        pinned = lambda: os.sched_setaffinity(0, {core})  # noqa: E731
        return subprocess.run(command, stdout=log, stderr=log, preexec_fn=pinned).returncode == 0


def finished(folder: Path) -> bool:
    """Whether every run folder of a cell has its evaluation."""
    runs = [path.parent for path in folder.rglob("config.json")]
    return bool(runs) and all((run / "evaluation.json").exists() for run in runs)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="folder for the run folders")
    parser.add_argument("--cores", type=int, nargs="+", default=sorted(os.sched_getaffinity(0)))
    options = parser.parse_args()
    suite = json.loads(options.suite.read_text())
    options.runs.mkdir(parents=True, exist_ok=True)
    waiting: queue.Queue[str] = queue.Queue()
    for cell in suite["cells"]:
        if not finished(options.runs / cell):
            waiting.put(cell)
    failed: list[str] = []

    def work(core: int) -> None:
        while True:
            try:
                cell = waiting.get_nowait()
            except queue.Empty:
                return
            start = time.time()
            good = train(cell, [*suite["common"], *suite["cells"][cell]], options.runs, core)
            print(f"{cell}: {'done' if good else 'FAILED'} in {time.time() - start:.0f} s", flush=True)
            if not good:
                failed.append(cell)

    threads = [threading.Thread(target=work, args=(core,)) for core in options.cores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
