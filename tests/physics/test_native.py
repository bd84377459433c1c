"""The native text as CUDA compiles it: one lane. Checked where there is no CUDA device to run it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import warp as wp
from test_bridge import actions, ant, gradient, states

from rfo.physics.articulated_kernels import kernels

ONE_LANE = """
import sys
import jax, numpy as np, warp as wp
from rfo.physics import articulated, articulated_kernels, native

many = native.snippet
def single(*args):
    text = many(*args)
    return "#define __CUDA_ARCH__ 1\\n" + text + "\\n#undef __CUDA_ARCH__\\n"

wp.config.kernel_cache_dir = sys.argv[1]
articulated_kernels.snippet = single
articulated.lanes = lambda *_: 1

from test_bridge import actions, ant, gradient, states
state, control = states(20), actions(20)
np.savez(sys.argv[2], *jax.tree.leaves((ant().step(state, control), gradient(ant(), state, control))))
"""


def test_one_lane_computes_what_many_do(tmp_path):
    """The branch of ``lanes.h`` for CUDA, run on the CPU."""
    file = tmp_path / "one_lane.npz"
    command = [sys.executable, "-c", ONE_LANE, str(tmp_path / "cache"), str(file)]
    result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    state, control = states(20), actions(20)
    expected = (
        *ant().step(state, control),
        *gradient(ant(), state, control)[0],
        gradient(ant(), state, control)[1],
    )
    with np.load(file) as data:
        for got, wanted in zip(data.values(), expected, strict=True):
            # apart from the order of roundings in sine and cosine
            np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_text_compiles_for_cuda(precision, tmp_path):
    if not wp.get_cuda_supported_archs():
        pytest.skip("this build of Warp has no compiler for CUDA")
    wp.compile_aot_module(kernels(precision).step.module, device=None, arch=80, module_dir=tmp_path)
    assert list(tmp_path.glob("*.cubin")) or list(tmp_path.glob("*.ptx"))
