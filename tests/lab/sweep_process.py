"""A process of a sweep whose trainings take no time, for test_sweep.py.

A training writes its run folders as `rfo train` does. Its return is the drawn learning rate plus
the square of the seed, so that the IQM is not the mean. Every start is a line of the file `starts`.
Trials that the file `hang` names stop half-way until they are told to end.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

UPDATES = 10


def train(words):
    """Stand in for `rfo train`."""
    value = dict(zip(words[::2], words[1::2], strict=True))
    if "--resume" in value:
        folders = [Path(value["--resume"])]
        config = json.loads((folders[0] / "config.json").read_text())
        root = folders[0].parents[2]
    else:
        import tomllib

        config = tomllib.loads(Path(value["--config"]).read_text())
        out = Path(value["--out"])
        first, count = int(value["--seed"]), int(value.get("--seeds", 1))
        folders = [out / f"s{seed}" for seed in range(first, first + count)]
        root = out.parents[1]
    trial = folders[0].parent.name
    with (root / "starts").open("a") as file:
        how = "again" if "--resume" in value else "new"
        file.write("".join(f"{how} {trial} {folder.name}\n" for folder in folders))
    rate = config["algorithm"]["optimiser"]["learning_rate"]
    stop = []
    signal.signal(signal.SIGINT, lambda *_: stop.append(1))
    for folder in folders:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints" / "update-1.ckpt").write_text("")
        seed = int(folder.name[1:])
        (folder / "config.json").write_text(json.dumps({**config, "seed": seed}))
    hangs = "--resume" not in value and trial in (root / "hang").read_text().split()
    for update in range(1, (UPDATES if not hangs else UPDATES // 2) + 1):
        for folder in folders:
            line = {
                "update": update,
                "env_steps": update * config["steps"] // UPDATES,
                "seconds": 1.0,
                "return_mean": -update if hangs else rate * update,
            }
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
    if hangs:
        (root / "hangs.new").write_text(f"{os.getpid()} {os.getppid()}")
        (root / "hangs.new").rename(root / "hangs")
        while not stop:
            time.sleep(0.02)
    if stop:
        sys.exit(130)
    for folder in folders:
        seed = int(folder.name[1:])
        if seed == 3 and (root / "diverge").exists():
            (folder / "diverged").mkdir()
            continue
        summary = {"mean": rate + seed**2}
        text = json.dumps({"stochastic": summary, "deterministic": summary})
        (folder / "evaluation.json").write_text(text)


def sweep(search, folder):
    """Stand in for `rfo sweep`."""
    from rfo.lab import queue, sweep
    from rfo.lab import search as searches

    queue.TRAIN = (sys.executable, "-S", __file__, "train")
    sweep.POLL = 0.02
    sweep.Sweep(searches.read(Path(search)), Path(folder)).run()


if __name__ == "__main__":
    train(sys.argv[2:]) if sys.argv[1] == "train" else sweep(*sys.argv[2:])
