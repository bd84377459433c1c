"""The native text as CUDA compiles it: one lane. Checked where there is no CUDA device to run it."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from test_bridge import actions, ant, gradient, states
from test_pairs import poses, two

from rfo.physics import articulated_kernels, packs, tetrahedra
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.mesh import from_voxels
from rfo.physics.tetrahedra import Tetrahedra, TetrahedraState

ONE_LANE = """
import sys
import numpy as np, warp as wp
from rfo.physics import native, packs

many = native.snippet
def single(dtype, struct, files, team=1):
    text = many(dtype, struct, files)  # there are no teams on the CPU
    return "#define __CUDA_ARCH__ 1\\n" + text + "\\n#undef __CUDA_ARCH__\\n"

wp.config.kernel_cache_dir = sys.argv[1]
packs.snippet = single
packs.lanes = lambda *_: 1

sys.path.append("..")
import test_native
np.savez(sys.argv[2], *test_native.computed())
"""


@cache
def boxes() -> Articulated:
    return Articulated(two("box", "box", 20.0, 50.0, 0.5), 0.01, 4)


def computed() -> list:
    """States and gradients of 20 ants, pairs of boxes and soft bodies after a control step in contact."""
    state, control = states(20), actions(20)
    rigid = (ant().step(state, control), gradient(ant(), state, control))
    value = lambda s, u: jnp.sum(boxes().step(s, u).qd ** 2)  # noqa: E731
    pose = ArticulatedState(jnp.asarray(poses(9, 20, 0.15), jnp.float32), jnp.zeros((20, 12)))
    pairs = (boxes().step(pose, control[:, :0]), jax.grad(value)(pose, control[:, :0]))
    mesh = from_voxels([(0, 0, 0), (1, 0, 0)], 0.3)
    soft = Tetrahedra(mesh, 1 / 60, 80, muscle=np.arange(10) // 2, gain=0.3)
    start = TetrahedraState(soft.init(20).q + 0.02, soft.init(20).qd - 0.5)
    control = jnp.linspace(-1, 1, 100).reshape(20, 5)
    value = lambda s, u: jnp.sum(soft.step(s, u).qd ** 2)  # noqa: E731
    return jax.tree.leaves((rigid, pairs, soft.step(start, control), jax.grad(value, (0, 1))(start, control)))


def test_one_lane_computes_what_many_do(tmp_path):
    """The branch of ``lanes.h`` for CUDA, run on the CPU."""
    file = tmp_path / "one_lane.npz"
    command = [sys.executable, "-c", ONE_LANE, str(tmp_path / "cache"), str(file)]
    result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    with np.load(file) as data:
        for got, wanted in zip(data.values(), computed(), strict=True):
            # apart from the order of roundings in sine and cosine
            np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "source", [articulated_kernels.SOURCE, articulated_kernels.PAIR_SOURCE, tetrahedra.SOURCE]
)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_text_compiles_for_cuda(source, precision, tmp_path):
    if not wp.get_cuda_supported_archs():
        pytest.skip("this build of Warp has no compiler for CUDA")
    module = packs.kernels(source, precision).step.module
    wp.compile_aot_module(module, device=None, arch=80, module_dir=tmp_path)
    assert list(tmp_path.glob("*.cubin")) or list(tmp_path.glob("*.ptx"))
