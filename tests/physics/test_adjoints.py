"""Every hand-written adjoint by itself, against dual numbers: see `duals`."""

from typing import NamedTuple

import jax
import numpy as np
import pytest
from duals import TOLERANCE, Code, mismatch, step_mismatch
from test_aligned import CASES as ALIGNED
from test_aligned import model as aligned_model
from test_aligned import pose as aligned_pose
from test_materials import CASES as DEFORMATIONS
from test_materials import LAWS
from test_mpm_gradient import MATERIALS, MOTION, paths, simulator, start
from test_pairs import KINDS, poses, two
from test_supports import SLOPES, attitudes, on

from rfo.physics.articulated import ArticulatedKernels
from rfo.physics.kinematics import pose_kernels
from rfo.physics.materials import NATIVE as MATERIAL
from rfo.physics.mesh import from_voxels
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.native import pack_model
from rfo.physics.packs import PackedKernels
from rfo.physics.tetrahedra import Tetrahedra
from rollouts import actuated, tree, tree_inputs

COUNT = 200
HELPERS = """
FN V3 v3(const real* x) { return {x[0], x[1], x[2]}; }
FN void put(real* to, const V3& v) { to[0] = v.x; to[1] = v.y; to[2] = v.z; }
FN Boxes boxes(const real* x) {  // a normal and a greatest depth
  Boxes two{};
  for (int j = 0; j < 3; ++j) two.n[j] = x[j];
  for (int j = 0; j < 3; ++j) two.half[j] = HALF[j] * (1 + crosswise(two, j) * grown);
  two.most = x[3];
  return two;
}
FN void met(const real* x, Boxes& two) {  // a turn, a way between the centres, an attitude
  const Quat turn{x[0] * real(0.5), x[1] * real(0.5), x[2] * real(0.5), real(1)};
  const Quat own = turn * Quat{x[6], x[7], x[8], x[9]};
  meet_boxes(HALF, OWN, real(1), own, {real(0), real(0), real(0), real(1)}, v3(x + 3), two);
}
"""
CONSTANTS = """
constexpr real LAW[5] = {real(1e3), real(10), real(50), real(0.5), real(200)};
constexpr real HALF[3] = {real(0.1), real(0.2), real(0.3)};
constexpr real OWN[3] = {real(0.15), real(0.1), real(0.2)};
"""


class Case(NamedTuple):
    """A function with its adjoint, and points to try."""

    function: str
    adjoint: str
    x: np.ndarray
    outputs: int
    fixed: int = 0
    """How many of the last inputs have no adjoint."""


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def contacts(slow: float) -> np.ndarray:
    """Normal, depth, velocity, share; half of the tangential speeds times `slow`."""
    n, v = unit(rng(0).normal(size=(COUNT, 3))), rng(1).normal(size=(COUNT, 3))
    tangential = v - np.sum(n * v, 1, keepdims=True) * n
    v[::2] -= (1 - slow) * tangential[::2]
    return np.hstack([n, rng(2).uniform(0.01, 0.1, (COUNT, 1)), v, rng(3).uniform(size=(COUNT, 1))])


CONTACT = (
    "put(y, contact_force(LAW, v3(x), x[3], v3(x + 4), x[7]));",
    """const ContactAdjoint a = contact_force_adjoint(LAW, v3(x), x[3], v3(x + 4), x[7], v3(w));
    put(y, a.n); y[3] = a.depth; put(y + 4, a.velocity); y[7] = a.on;""",
)
LAW = (
    "put(y, contact_force(x + 8, v3(x), x[3], v3(x + 4), x[7]));",
    """const LawAdjoint a = contact_law_adjoint(x + 8, v3(x), x[3], v3(x + 4), x[7], v3(w));
    const ContactAdjoint b = contact_force_adjoint(x + 8, v3(x), x[3], v3(x + 4), x[7], v3(w));
    put(y, b.n); y[3] = b.depth; put(y + 4, b.velocity); y[7] = b.on;
    for (int j = 0; j < 5; ++j) y[8 + j] = a.of[j];""",
)
MIX = (
    "Mixed mixed; put(y, mix(v3(x), v3(x + 3), real(0.1), mixed));",
    "V3 way; put(y, mix_adjoint(v3(x), v3(x + 3), real(0.1), v3(w), way)); put(y + 3, way);",
)
POINT = (
    "V3 n; box_distance(v3(x), HALF, y[0], n); put(y + 1, n);",
    "put(y, box_distance_adjoint(v3(x), HALF, w[0], v3(w + 1)));",
)
MEET = (
    """Boxes two; met(x, two);
    for (int j = 0; j < 3; ++j) y[j] = two.n[j];
    y[3] = two.most;""",
    """Boxes two; met(x, two);
    BoxesAdjoint to{};
    for (int j = 0; j < 3; ++j) to.n[j] = w[j];
    to.most = w[3];
    meet_boxes_adjoint(HALF, OWN, real(1), two, to);
    V3 torque{};
    for (int i = 0; i < 3; ++i) torque = torque + v3(two.a[i]).cross(v3(to.a[i]));
    put(y, torque); put(y + 3, v3(to.c));""",
)


def overlapping(hair: float) -> np.ndarray:
    """Overlapping boxes: at random, or with faces and edges aligned but for a hair."""
    x = np.zeros((COUNT, 10))
    x[:, 3:6] = rng(1).uniform(-0.15, 0.15, (COUNT, 3))
    x[:, 6:] = unit(rng(2).normal(size=(COUNT, 4)))
    if hair:
        x[:, 6:] = unit([0, 0, 0, 1] + hair * rng(2).normal(size=(COUNT, 4)))
        x[::2, 3:5] = hair * rng(3).normal(size=(COUNT // 2, 2))
    return x


RIGID = {
    "contact": Case(*CONTACT, contacts(1.0), 3),
    "contact that hardly slides": Case(*CONTACT, contacts(1e-3), 3),
    "contact slower than the floor of the speed": Case(*CONTACT, contacts(1e-7), 3),
    "constants of a contact": Case(
        *LAW,
        np.hstack([contacts(1e-2), rng(4).uniform(0.5, 2, (COUNT, 5)) * [1e3, 10, 50, 0.5, 200]]),
        3,
    ),
    "a segment through a slab": Case(
        "y[0] = -1; y[1] = 1; clip(x[0], x[1], x[2], y[0], y[1]);",
        """Touch t; t.enter = -1; t.leave = 1;
        clip(x[0], x[1], x[2], t.enter, t.leave);
        const real e = t.enter > -1 ? w[0] : real(0), l = t.leave < 1 ? w[1] : real(0);
        y[0] = y[1] = real(0);
        clip_adjoint(x[0], x[1], x[2], t, e, l, y[0], y[1], y[2]);""",
        np.hstack([rng(0).uniform(-0.5, 0.5, (COUNT, 2)), np.full((COUNT, 1), 0.3)]),
        2,
    ),
    "a direction": Case(*MIX, rng(0).normal(size=(COUNT, 6)), 3),
    "a direction that fades": Case(*MIX, 0.03 * rng(1).normal(size=(COUNT, 6)), 3),
    "a point about a box": Case(*POINT, rng(0).uniform(-0.5, 0.5, (COUNT, 3)), 4),
    "a point in a box": Case(*POINT, rng(1).uniform(-0.09, 0.09, (COUNT, 3)), 4),
    "a point near the middle of a box": Case(*POINT, 1e-4 * rng(2).normal(size=(COUNT, 3)), 4),
    "two boxes": Case(*MEET, overlapping(0.0), 4, 4),
    "two boxes a hair from aligned": Case(*MEET, overlapping(1e-3), 4, 4),
    "the part of an edge that counts": Case(
        "y[0] = share_of_edge(boxes(x), HALF, x + 4, x + 7, real(0.2));",
        """const Boxes two = boxes(x); BoxesAdjoint to{};
        for (int j = 0; j < 10; ++j) y[j] = real(0);
        share_of_edge_adjoint(two, HALF, x + 4, x + 7, real(0.2), w[0], y + 4, y + 7, to);
        for (int j = 0; j < 3; ++j) y[j] = to.n[j];""",
        np.hstack(
            [
                unit(rng(0).normal(size=(COUNT, 3)) * [1, 0.2, 0.2]),
                np.full((COUNT, 1), 0.1),
                rng(1).choice([-1, 1], (COUNT, 3)) * rng(2).uniform(0.09, 0.3, (COUNT, 3)),
                0.2 * unit(rng(3).normal(size=(COUNT, 3))),
            ]
        ),
        1,
    ),
    "the depth of a point": Case(
        "F face; y[0] = depth_in_box(boxes(x), x + 4, &face);",
        """const Boxes two = boxes(x); BoxesAdjoint to{};
        for (int j = 0; j < 7; ++j) y[j] = real(0);
        depth_in_box_adjoint(two, HALF, x + 4, w[0], y + 4, to);
        for (int j = 0; j < 3; ++j) y[j] = to.n[j];
        y[3] = to.most;""",
        np.hstack(
            [
                unit(rng(0).normal(size=(COUNT, 3))),
                rng(1).uniform(0.05, 0.4, (COUNT, 1)),
                rng(2).uniform(-0.1, 0.1, (COUNT, 3)),
            ]
        ),
        1,
    ),
    "a node against a surface": Case(
        "put(y, slide(v3(x), v3(x + 3), real(0.3)));",
        "V3 n; put(y, slide_adjoint(v3(x), v3(x + 3), real(0.3), v3(w), n)); put(y + 3, n);",
        (lambda n, t: np.hstack([t - n, n]))(
            unit(rng(0).normal(size=(COUNT, 3))), 0.6 * rng(1).normal(size=(COUNT, 3))
        ),
        3,
    ),
    "WRONG": Case("y[0] = x[0] * x[1];", "y[0] = w[0] * x[1]; y[1] = -w[0] * x[0];",
                  rng(0).normal(size=(COUNT, 2)), 1),
}  # fmt: skip


def code(cases: dict[str, Case], headers: tuple[str, ...], helpers: str = "") -> Code:
    functions, adjoints = zip(*((x.function, x.adjoint) for x in cases.values()), strict=True)
    return Code(headers, functions, adjoints, helpers=helpers)


RIGID_CODE = code(RIGID, ("articulated_pairs_adjoint.h",), CONSTANTS + HELPERS)


@pytest.mark.parametrize("name", RIGID)
def test_a_function_of_contact(name):
    case = RIGID[name]
    error = mismatch(RIGID_CODE, list(RIGID).index(name), case.x, case.fixed, case.outputs)
    assert (error.max() < TOLERANCE) == (name != "WRONG"), np.sort(error)[-5:]


RESPONSE = Code(
    ("material_step.h",),
    ("""const Model model{{ints.data, numbers}};
    Mat A, Fe, tau; Principal axes;
    for (int j = 0; j < 9; ++j) A.a[j] = x[j];
    respond(model, A, Fe, tau, axes);
    for (int j = 0; j < 9; ++j) { y[j] = Fe.a[j]; y[9 + j] = tau.a[j] / model.mu; }""",),
    ("""const Model model{{ints.data, numbers}};
    Mat A, Fe, tau, g_Fe, g_tau; Principal axes;
    for (int j = 0; j < 9; ++j) A.a[j] = x[j], g_Fe.a[j] = w[j], g_tau.a[j] = w[9 + j] / model.mu;
    respond(model, A, Fe, tau, axes);
    const Mat g = respond_adjoint(model, A, axes, g_Fe, g_tau);
    for (int j = 0; j < 9; ++j) y[j] = g.a[j];""",),
)  # fmt: skip


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("case", ["random", "beside the yield surface", "inverted", "nearly equal"])
def test_a_constitutive_law(law, case):
    """Where singular values are equal, Jacobi's method has no tangent that could be compared; see
    test_materials.py."""
    near = np.diag([1.2, 1.2 + 1e-4, 0.8]) + 1e-5 * rng(0).normal(size=(20, 3, 3))
    F = near if case == "nearly equal" else DEFORMATIONS[case]
    model = pack_model(MATERIAL, LAWS[law].values(), np.dtype("float64"), "cpu")
    error = mismatch(RESPONSE, 0, F.reshape(-1, 9), 0, 18, [x.numpy() for x in model])
    assert error.max() < TOLERANCE, error


def step(model, q, qd, control) -> np.ndarray:
    """Mismatch of a control step of two substeps."""
    kernels = ArticulatedKernels(model, 1e-3, 2, np.dtype("float64"))
    return step_mismatch(kernels, [q, qd, control])


@pytest.mark.parametrize("seed", range(3))
def test_a_step_of_a_tree(seed):
    """All joint types, limits and contact with a tilted ground."""
    inputs = tree_inputs(tree(seed), 12, 1)
    error = step(tree(seed), inputs.q, inputs.qd, inputs.controls[0])
    assert error.max() < TOLERANCE, error


def test_poses_of_a_tree():
    """All joint types; their quaternions need not have length 1."""
    error = step_mismatch(
        pose_kernels(tree(0), np.dtype("float64")), [tree_inputs(tree(0), 12, 1).q]
    )
    assert error.max() < TOLERANCE, error


@pytest.mark.parametrize("cords", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_a_step_of_what_acts_along_lengths(seed, cords):
    """Actuators with activations, tendons, dry friction and couplings."""
    model = actuated(seed, cords)
    inputs = tree_inputs(model, 12, 1)
    error = step(model, inputs.q, inputs.qd, inputs.controls[0])
    assert error.max() < TOLERANCE, error


@pytest.mark.parametrize(("one", "other"), KINDS)
def test_a_step_of_a_pair(one, other):
    q, qd = poses(3, 30, 0.15), rng(0).normal(size=(30, 12))
    error = step(two(one, other, 20.0, 50.0, 0.5), q, qd, np.zeros((30, 0)))
    assert error.max() < TOLERANCE, error


@pytest.mark.parametrize("case", ALIGNED)
@pytest.mark.parametrize("hair", [1e-6, 1e-3])
def test_a_step_of_an_aligned_pair(case, hair):
    q = aligned_pose(case) + hair * rng(0).normal(size=(16, 14))
    qd = 10 * hair * rng(1).normal(size=(16, 12))
    error = step(aligned_model(case), q, qd, np.zeros((16, 0)))
    assert error.max() < TOLERANCE, error


@pytest.mark.parametrize("kind", ["ellipsoid", "cylinder", "box"])
def test_a_step_on_two_planes(kind):
    model = load(on(SLOPES, kind), ContactParameters(1e4, 20.0, 50.0, 0.5))
    error = step(model, attitudes(30, 0.2), rng(0).normal(size=(30, 6)), np.zeros((30, 0)))
    assert error.max() < TOLERANCE, error


def own_constants(kernels: PackedKernels, envs: int) -> np.ndarray:
    """Those of kernels that take parameters, a little different in each environment."""
    own = np.concatenate([np.ravel(kernels.values[name]) for name in kernels.native.parameters])
    return own * rng(5).uniform(0.8, 1.2, (envs, own.size)) + 1e-3


def test_a_step_of_a_soft_body():
    """With muscles, in contact with the ground; also in each array of parameters."""
    mesh = from_voxels([(0, 0, 0), (1, 0, 0)], 0.3)
    soft = Tetrahedra(mesh, 1e-3, 3, muscle=np.arange(10) // 2, gain=0.3, dtype=np.float64)
    x = mesh.vertices.reshape(1, -1) + 0.02 * rng(0).normal(size=(12, 36))
    inputs = [x, rng(1).normal(size=(12, 36)), rng(2).uniform(-1, 1, (12, 5))]
    kernels = soft.kernels.varying()
    error = step_mismatch(kernels, [*inputs, own_constants(kernels, 12)])
    assert error.max() < TOLERANCE, error


@pytest.mark.parametrize("material", MATERIALS)
def test_a_step_of_particles(material):
    """With moving tools of each shape, on the ground; also in each parameter."""
    sim = simulator(material)
    with jax.enable_x64(True):
        state, path = start(sim, at_rest=False), paths(MOTION)[0]
    inputs = [np.asarray(x, float).reshape(len(path), -1) for x in (*state, path)]
    kernels = sim.kernels.varying()
    error = step_mismatch(kernels, [*inputs, own_constants(kernels, len(path))])
    assert error.max() < TOLERANCE, error
