"""Checks rfo on a CUDA device and writes a report: `make test-gpu`.

Gradients against differences, golden trajectories, parity with the CPU, throughput at 1k to 64k
environments, and one short training of each kind of task. Where there is no CUDA device it says so
and ends. `--dry-run` goes through it on whatever device there is, to see that the script itself
works.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

import rfo

TASKS = ("ant", "soft_jumper_small", "rolling_flat")
"""One of each kind: rigid bodies, tetrahedra, particles."""
SIZES = (1024, 4096, 16384, 65536)
GOLDEN = (
    "tests/envs/test_golden_rewarped.py",
    "tests/envs/test_golden_humanoid.py",
    "tests/physics/test_mpm_golden.py",
    "tests/physics/test_articulated_gradient.py",
    "tests/physics/test_mpm_gradient.py",
)
STEPS, REPEATS, NEAR = 8, 3, 1e-3
"""Control steps of a rollout; timed repeats; relative difference that counts as equal."""


def rollout(env):
    """A function from a key to the reward of a rollout (STEPS,) and its gradient in the actions."""

    def reward(actions, start):
        _, rewards = jax.lax.scan(
            lambda state, action: (lambda out: (out.state, out.reward))(env.step(state, action)),
            start,
            actions,
        )
        return rewards.mean(), rewards.mean(1)

    def run(key):
        start_key, action_key = jax.random.split(key)
        shape = (STEPS, env.size, env.spec.action_size)
        actions = jax.random.uniform(action_key, shape, minval=-1, maxval=1)
        gradient, rewards = jax.grad(reward, has_aux=True)(actions, env.init(start_key))
        return rewards, gradient

    return jax.jit(run)


def parity(task, environments):
    """Largest difference of rewards and gradients between CPU and device, relative to the largest
    on the CPU."""
    found = []
    for device in (jax.devices("cpu")[0], jax.devices()[0]):
        with jax.default_device(device):
            found.append(jax.device_get(rollout(rfo.make(task, environments))(jax.random.key(0))))
    pairs = zip(*found, strict=True)
    return max(float(np.abs(x - y).max() / np.abs(x).max()) for x, y in pairs)


def throughput(task, environments):
    """Environment steps a second, forward and backward; None where the memory is too small."""
    try:
        run = rollout(rfo.make(task, environments))
        jax.block_until_ready(run(jax.random.key(0)))
        begin = time.perf_counter()
        for i in range(REPEATS):
            jax.block_until_ready(run(jax.random.key(i)))
        return REPEATS * STEPS * environments / (time.perf_counter() - begin)
    except (jax.errors.JaxRuntimeError, RuntimeError) as error:
        print(f"{task}, {environments} environments: {str(error).splitlines()[0]}", file=sys.stderr)
        return None


def training(task, environments):
    """How a training of four updates ended, and whether its metrics are finite."""
    horizon = rfo.preset(task).algorithm.horizon
    steps = 4 * horizon * environments
    with tempfile.TemporaryDirectory() as folder:
        run = rfo.train(task, steps=steps, environments=environments, out=Path(folder) / "run")
        finite = bool(np.isfinite(run.metrics["grad_norm"]).all())
        return run.status if finite else "not finite"


def check(tasks, sizes):
    """All checks of all tasks, by name."""
    golden = subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "0", *GOLDEN], check=False)
    told = {"device": jax.devices()[0].device_kind, "golden": golden.returncode == 0, "tasks": {}}
    for task in tasks:
        print(task, file=sys.stderr)
        told["tasks"][task] = {
            "gradient": rfo.check_gradient(task).passed,
            "parity": parity(task, 16),
            "steps_per_second": {n: throughput(task, n) for n in sizes},
            "training": training(task, min(64, *sizes)),
        }
    return told


def passed(told):
    """Whether everything is as it should be; throughput is only told."""
    return told["golden"] and all(
        x["gradient"] and x["parity"] < NEAR and x["training"] == "finished"
        for x in told["tasks"].values()
    )


def page(told):
    """The report in Markdown."""
    yes = {True: "yes", False: "**no**"}
    sizes = list(next(iter(told["tasks"].values()))["steps_per_second"])
    heads = ["task", "gradient right", "distance from the CPU", "training"]
    heads += [f"steps/s, {size:,} environments" for size in sizes]
    lines = [
        f"# rfo on {told['device']}",
        "",
        f"Golden trajectories and gradients of the test suite: {yes[told['golden']]}",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
    ]
    for task, x in told["tasks"].items():
        rates = [f"{r:,.0f}" if r else "too large" for r in x["steps_per_second"].values()]
        cells = [task, yes[x["gradient"]], f"{x['parity']:.1e}", x["training"], *rates]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main():
    """Check, write `report.md` and `results.json`, and tell the result by the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("report-gpu"))
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--dry-run", action="store_true", help="without a CUDA device, too")
    asked = parser.parse_args()
    platform = jax.devices()[0].platform
    if platform != "gpu" and not asked.dry_run:
        print(f"test-gpu: skipped, as JAX finds no CUDA device here but {platform} (docs/gpu.md)")
        return 0
    told = check(asked.tasks, asked.sizes)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "results.json").write_text(json.dumps(told, indent=2) + "\n")
    (asked.out / "report.md").write_text(page(told))
    print(page(told))
    return 0 if passed(told) else 1


if __name__ == "__main__":
    sys.exit(main())
