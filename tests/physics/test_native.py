"""The native headers: each by itself, and all as CUDA compiles them, with one lane.

That is checked where there is no CUDA device to run it.
"""

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

from rfo.physics import articulated, kinematics, materials, mpm, tetrahedra
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.materials import Plasticine, respond
from rfo.physics.mesh import from_voxels
from rfo.physics.mpm import MPM, Grid, Tool
from rfo.physics.native import FOLDER, included, kernels, lanes, start_warp
from rfo.physics.tetrahedra import Tetrahedra, TetrahedraState
from rollouts import shipped

ONE_LANE = """
import sys
import numpy as np, warp as wp
from rfo.physics import native, packs

wp.config.kernel_cache_dir, wp.config.optimization_level = sys.argv[1], 0
packs.lanes = native.lanes = lambda *_: 1

sys.path.append("..")
import test_native
np.savez(sys.argv[2], *test_native.computed())
"""


@cache
def boxes() -> Articulated:
    return Articulated(two("box", "box", 20.0, 50.0, 0.5), 0.01, 4)


def computed() -> list:
    """States and gradients after a control step in contact.

    They are those of 20 ants, pairs of boxes, soft bodies, and 2 lumps of clay.
    """
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
    soft_results = (soft.step(start, control), jax.grad(value, (0, 1))(start, control))
    return jax.tree.leaves((rigid, pairs, soft_results, clay()))


def clay() -> list:
    """Pressed by a ball and the ground; and the response of its material."""
    material = Plasticine(5e3, 0.2, 1.0, 50.0)
    x = np.random.default_rng(0).uniform([0.4, 0.4, 0.15], [0.6, 0.6, 0.25], (2, 50, 3))
    sim = MPM(
        material, 50, 8e-5, Grid((20, 20, 20), 0.05), 1e-3, 10, tools=[Tool("sphere", (0.05,))]
    )
    height = jnp.linspace(0.3, 0.295, 11)[None, :, None]
    path = jnp.concatenate(
        [jnp.full((1, 11, 2), 0.513), height, jnp.eye(4)[None, 0] + jnp.zeros((1, 11, 4))], -1
    )
    path = jnp.tile(path, (2, 1, 1))[:, :, None]
    after = sim.step(sim.init(x), path)
    value = lambda s, p: jnp.sum(sim.step(s, p).v ** 2)  # noqa: E731
    F = jnp.eye(3) + 0.1 * jnp.asarray(
        np.random.default_rng(1).normal(size=(20, 3, 3)), jnp.float32
    )
    response = jax.grad(lambda F: jnp.sum(respond(material, F).stress ** 2))
    return [after, jax.grad(value, (0, 1))(after, path), respond(material, F), response(F)]


@pytest.mark.long
def test_one_lane_computes_what_many_do(tmp_path):
    """The branch of ``lanes.h`` for CUDA, run on the CPU."""
    file = tmp_path / "one_lane.npz"
    command = [sys.executable, "-c", ONE_LANE, str(tmp_path / "cache"), str(file)]
    result = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    with np.load(file) as data:
        for got, wanted in zip(data.values(), computed(), strict=True):
            # apart from the order of roundings in sine and cosine
            np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_warp_starts_with_the_first_simulator():
    """Not at import, when nobody expects that the standard error stream is turned away."""
    check = """
import warp as wp
before = wp.config.log_level
from rfo.physics import articulated, mpm, native, tetrahedra
assert wp.config.log_level == before
native.kernels(tetrahedra.NATIVE, "float32")
assert wp.config.log_level == wp.LOG_WARNING != before
"""
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert result.returncode == 0 and not result.stderr, result.stderr


@pytest.mark.parametrize(
    ("real", "width"),
    [
        ("float", lanes(np.dtype("float32"), "cpu")),
        pytest.param("double", 1, marks=pytest.mark.long),
        pytest.param("float", 1, marks=pytest.mark.long),
        pytest.param("double", lanes(np.dtype("float64"), "cpu"), marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("header", sorted(path.name for path in FOLDER.glob("*.h")))
def test_a_header_includes_what_it_uses(header, real, width):
    """It compiles by itself."""
    start_warp()
    options = wp.ModuleBuildOptions(
        extra_cpu_include_dirs=[FOLDER],
        extra_cpu_preamble=f'#define REAL {real}\n#define LANES {width}\n#include "{header}"',
        extra_build_dependencies=included([header]),
    )
    module = wp.get_module(f"rfo_tests.{header[:-2]}_{real}_{width}")
    settings = {"extra_build_options": options, "optimization_level": 0}
    wp.set_module_options(settings, module)

    @wp.kernel(module=module, enable_backward=False)
    def nothing(x: wp.array(dtype=wp.int32)):
        x[wp.tid()] = 1

    assert module.load("cpu")


def test_a_pack_of_environments_fits_the_registers(tmp_path):
    """The compiler warns, in every user's terminal, where a number is wider than a register."""
    code = f"""
import sys
import numpy as np, warp as wp
from rfo.physics.native import FOLDER, lanes, start_warp

start_warp()
wp.config.kernel_cache_dir = {str(tmp_path)!r}
text = f'#define LANES {{lanes(np.dtype("float32"), "cpu") * int(sys.argv[1])}}\\n'
text += '#include "lanes.h"\\n__attribute__((noinline)) F twice(F x) {{{{ return x + x; }}}}'
options = wp.ModuleBuildOptions(extra_cpu_include_dirs=[FOLDER], extra_cpu_preamble=text)
module = wp.get_module("rfo_tests.wide")
wp.set_module_options({{"extra_build_options": options, "optimization_level": 0}}, module)

@wp.func_native("F y = twice(F(1));")
def use(): ...

@wp.kernel(module=module, enable_backward=False)
def nothing(x: wp.array(dtype=wp.int32)):
    use()
assert module.load("cpu")
"""
    file = tmp_path / "wide.py"
    file.write_text(code)
    for factor, warns in ((1, False), (32, True)):
        command = [sys.executable, str(file), str(factor)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert ("changes the ABI" in done.stderr) == warns, done.stderr


SIMULATORS = {
    "articulated": articulated.native_of(shipped("ant")),
    "pairs": articulated.NATIVE,
    "parameters": articulated.native_of(shipped("ant")).varying,
    "kinematics": kinematics.NATIVE,
    "tetrahedra": tetrahedra.NATIVE,
    "tetrahedra, parameters": tetrahedra.NATIVE.varying,
    "mpm": mpm.NATIVE,
    "mpm, parameters": mpm.NATIVE.varying,
    "material": materials.NATIVE,
}
SLOW = ("articulated", "parameters", "mpm, parameters")
"""The text of the first is a part of the next one's, and of pairs."""


ARCHITECTURES = [80, *(pytest.param(arch, marks=pytest.mark.long) for arch in (90, 100))]
"""Of the A100, the H100 and H200, and the B200."""


@pytest.mark.parametrize(
    "simulator",
    [pytest.param(x, marks=pytest.mark.long if x in SLOW else ()) for x in SIMULATORS],
)
@pytest.mark.parametrize("precision", ["float32", pytest.param("float64", marks=pytest.mark.long)])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_text_compiles_for_cuda(simulator, precision, arch, tmp_path):
    if not wp.get_cuda_supported_archs():
        pytest.skip("this build of Warp has no compiler for CUDA")
    if precision == "float64" and (simulator[:3] == "mpm" or simulator == "pairs" or arch != 80):
        pytest.skip("takes long, and is the same text")
    module = kernels(SIMULATORS[simulator], precision).step.module
    wp.compile_aot_module(module, device=None, arch=arch, module_dir=tmp_path)
    assert list(tmp_path.glob(f"*sm{arch}*.cubin")) or list(tmp_path.glob(f"*sm{arch}*.ptx"))
