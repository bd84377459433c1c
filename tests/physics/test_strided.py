"""The layout of scratch memory on CUDA, where one thread advances one environment.

There the arrays of all environments lie between one another (``native/team.h``). The same text
compiles for the CPU, and gives the numbers of the contiguous layout there, up to rounding.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from test_bridge import actions, ant, states

from rfo.physics.articulated import ArticulatedKernels
from rfo.physics.host import Plan
from rfo.physics.packs import PackedKernels
from rfo.physics.parameters import packed

ENVS = 5


class Single(PackedKernels):
    """Kernels that advance one environment a thread, as on CUDA."""

    def pack_size(self, device: str) -> int:
        return 1


@pytest.fixture(scope="module")
def known():
    """The ant's kernels with parameters, and what their adjoint takes."""
    kernels = ArticulatedKernels(ant().model, 1 / 240, 4, np.dtype(np.float32)).varying()
    state = states(ENVS)
    parameters = packed(ant().parameters._asdict(), kernels.native.parameters, ENVS)
    return kernels, [np.asarray(x) for x in (*state, actions(ENVS), parameters)]


def strided(kernels):
    """The same as CUDA compiles them."""
    macros = kernels.native.macros | {"LANES": "1", "STRIDED": "1"}
    return Single(replace(kernels.native, macros=macros), kernels.values, kernels.dtype)


def outcome(kernels, inputs):
    plan = Plan(kernels, ENVS, threads=1)
    outputs = plan.forward(*inputs)
    cotangents = [np.cos(np.arange(x.size, dtype=x.dtype)).reshape(x.shape) for x in outputs]
    return [*outputs, *plan.adjoint(*inputs, *cotangents)]


def test_the_layout_changes_no_number(known):
    kernels, inputs = known
    contiguous = outcome(kernels, inputs)
    assert all(np.isfinite(x).all() and np.ptp(x) > 0 for x in contiguous)
    for one, other in zip(contiguous, outcome(strided(kernels), inputs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(one).max())


def test_launches_of_a_control_step(known, monkeypatch):
    """One, and two for its adjoint, which runs the step again, however many substeps there are."""
    kernels, inputs = known
    launched = []
    monkeypatch.setattr(
        PackedKernels, "launch", lambda self, kernel, *_: launched.append(kernel.key)
    )
    space = SimpleNamespace(outputs=[])
    kernels.launch_forward(space, inputs, [])
    assert launched == ["step"]
    kernels.launch_adjoint(space, inputs, [], [])
    assert launched == ["step", "step", "adjoint"]
