"""Several devices in one training: the numbers of one device, wherever it goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What a process with four devices prints; this one has one."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("devices_process.py"))],
        cwd=tmp_path_factory.mktemp("devices"),
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("what", ["physics", "metrics", "seeds", "resumed", "evaluated"])
def test_numbers_are_those_of_one_device_up_to_rounding(told, what):
    """RFO with physics, critics and its past rollout on four devices; two seeds on two; a run on
    four devices that goes on with two, against one that stays on one."""
    assert told[what] < 1e-4
    assert told["another seed"] > 0.1  # so the comparison can fail


def test_environments_are_shared_out_and_parameters_copied(told):
    assert told["devices"] == {"env": 4, "share": 2, "actor": True, "past": 2}


def test_devices_that_cannot_work_are_refused(told):
    unequal, missing = told["refused"]
    assert unequal == "devices must divide environments (8), as 2 does, not 3"
    assert missing == "devices must be at most 4, the number of cpu devices that JAX finds, not 8"
