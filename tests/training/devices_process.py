"""A process with four devices that trains on one, two and four of them, for test_devices.py.

Prints one JSON object: the largest differences between trainings, relative to the largest number of
each array, and on how many devices arrays of the state are.
"""

import json
import sys
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

import rfo
from rfo.errors import SettingError
from rfo.experiment.build import build
from rfo.training import trainer
from rfo.training.devices import sharing

UPDATES = 3
TINY = {"environments": 8, "horizon": 4, "network.hidden": [8], "evaluation.episodes": 8}
FLOW = {"critic.hidden": [8], "critic.batches": 2, "critic.iterations": 2, "flow.steps": 2}


def trained(task, method, devices, seeds=(0,), **settings):
    """State and metrics after a few updates on some devices."""
    algorithm, env = build(rfo.preset(task, method, **{**TINY, **settings}))
    shared = sharing(devices, env.size, algorithm.horizon, len(seeds))
    state = trainer.initial_state(algorithm, env, seeds)
    state = state if shared is None else shared.share_out(state)
    update = trainer.compiled_update(algorithm, env, len(seeds), shared)
    for _ in range(UPDATES):
        state, metrics, _ = update(state)
    return state, metrics


def numbers(tree):
    """Arrays of a tree as NumPy's."""
    leaves = [x for x in jax.tree.leaves(tree) if eqx.is_array(x)]
    is_key = [jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key) for x in leaves]
    raw = [jax.random.key_data(x) if key else x for x, key in zip(leaves, is_key, strict=True)]
    return [np.asarray(x, np.float64) for x in raw]


def difference(one, other):
    """Largest difference between two trees, relative to the largest number of each array."""
    pairs = [(x, y) for x, y in zip(numbers(one), numbers(other), strict=True) if x.size]
    assert all(np.array_equal(np.isnan(x), np.isnan(y)) for x, y in pairs)
    return max(
        float(np.nanmax(np.abs(x - y), initial=0.0) / (1e-3 + np.nanmax(np.abs(x), initial=0.0)))
        for x, y in pairs
    )


def run(folder, devices, then):
    """Metrics of a run that is trained on some devices and goes on with others."""
    small = {**TINY, "out": folder, "steps": 4 * 32, "devices": devices}
    longer = rfo.train("lqr", "apg", **small).resume(steps=8 * 32, devices=then)
    assert longer.status == "finished"
    return {k: x for k, x in longer.metrics.items() if "second" not in k}, longer.evaluation


def refusal(**settings):
    """What is said to settings that cannot work."""
    try:
        rfo.train("lqr", "apg", **{**TINY, **settings})
    except SettingError as error:
        return str(error)
    raise AssertionError("it was not refused")


def main():
    """Compare."""
    alone, alone_metrics = trained("cartpole", "rfo_fixed", 1, **FLOW)
    shared, metrics = trained("cartpole", "rfo_fixed", 4, **FLOW)
    other, _ = trained("cartpole", "rfo_fixed", 1, seeds=(1,), **FLOW)
    two, _ = trained("lqr", "apg", 1, seeds=(0, 1))
    two_shared, _ = trained("lqr", "apg", 2, seeds=(0, 1))
    one_device, four_devices = run("one", 1, 1), run("four", 4, 2)
    told = {
        "physics": difference(alone, shared),
        "metrics": difference(alone_metrics, metrics),
        "another seed": difference(alone, other),
        "seeds": difference(two, two_shared),
        "resumed": difference(one_device[0], four_devices[0]),
        "evaluated": difference(
            *(x[1]["stochastic"]["mean"] * np.ones(1) for x in (one_device, four_devices))
        ),
        "devices": {
            "env": len(shared.env.observation.sharding.device_set),
            "share": shared.env.observation.addressable_shards[0].data.shape[0],
            "actor": jax.tree.leaves(shared.actor)[0].sharding.is_fully_replicated,
            "past": shared.past.observation.addressable_shards[0].data.shape[1],
        },
        "refused": [refusal(devices=3), refusal(devices=8)],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
