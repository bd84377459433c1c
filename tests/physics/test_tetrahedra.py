"""Soft bodies: elasticity, damping, activation and contact by theory, gradients by differences."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.physics.mesh import TetMesh, from_voxels
from rfo.physics.tetrahedra import SoftContact, SoftMaterial, Tetrahedra, TetrahedraState

BENCH = from_voxels([(0, 0, 1), (1, 0, 1), (2, 0, 1), (0, 0, 0), (2, 0, 0)], 0.35)
STIFF = SoftMaterial(mu=1200.0, lambda_=800.0, damping=0.0)
DT = 1 / 4800
FAR = -100.0
"""Height of a ground that nothing touches [m]."""


@pytest.fixture(autouse=True)
def double_precision():
    """Set x64 for the whole process; `jax.enable_x64` would not reach the threads of callbacks."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def soft(mesh=BENCH, substeps=1, dt=DT, **options):
    options = {"gravity": 0.0, "ground_height": FAR, "material": STIFF, **options}
    return Tetrahedra(mesh, dt * substeps, substeps, dtype=np.float64, threads=1, **options)


def random(seed, shape, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=shape)


def state(q, qd=None):
    q = jnp.asarray(q, float)
    q = q if q.ndim == 3 else q[None]
    return TetrahedraState(
        q, jnp.zeros_like(q) if qd is None else jnp.asarray(qd, float).reshape(q.shape)
    )


def no_control(batch=1):
    return jnp.zeros((batch, 0))


def forces(body, q, qd=None, control=None):
    """Force on every vertex [N], computed from one substep."""
    start = state(q, qd)
    control = no_control(len(start.q)) if control is None else jnp.asarray(control)
    after = body.step(start, control)
    return np.asarray((after.qd - start.qd) / DT * body.mass[:, None])


def energy(body, q, activation=0.0):
    """Oracle: the elastic energy in NumPy, from the deformation gradient [J]."""
    rest, now = (np.asarray(x)[body.mesh.tets] for x in (body.mesh.vertices, q))
    edges = lambda x: np.swapaxes(x[:, 1:] - x[:, :1], 1, 2)  # noqa: E731
    F = edges(now) @ np.linalg.inv(edges(rest))
    stretch, J = np.sum(F**2, axis=(1, 2)), np.linalg.det(F)
    mu, lam = STIFF.mu, STIFF.lambda_
    alpha = 1 + 0.75 * mu / lam
    density = mu / 2 * (stretch - 3 - np.log(stretch + 1)) + lam / 2 * (J - alpha + activation) ** 2
    return density @ body.mesh.volumes


@pytest.mark.parametrize("case", ["strained", "inverted", "activated"])
def test_force_is_minus_the_gradient_of_the_energy(case):
    rest = BENCH.vertices
    q = rest * [-0.8, 1.1, 0.9] if case == "inverted" else rest + random(0, rest.shape, 0.04)
    activation = -2.5 if case == "activated" else 0.0
    body = soft(muscle=np.zeros(len(BENCH.tets), int))
    ours = forces(body, q, control=[[activation]])[0]
    differences = np.zeros_like(q)
    for i in np.ndindex(q.shape):
        e = np.zeros_like(q)
        e[i] = 1e-6
        differences[i] = -(energy(body, q + e, activation) - energy(body, q - e, activation)) / 2e-6
    assert np.abs(ours).max() > 1
    np.testing.assert_allclose(ours, differences, atol=1e-6 * np.abs(ours).max())


def turn(angle=0.7, axis=(0.3, -0.5, 0.8)):
    axis = np.array(axis) / np.linalg.norm(axis)
    K = np.cross(np.eye(3), axis)
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


@pytest.mark.parametrize("drag", [0.0, 1.0])
def test_a_rigid_motion_gives_no_force_unless_the_reference_damps_it(drag):
    """A rotated and shifted body at rest or in translation feels no force, except with `drag`."""
    body = soft(material=SoftMaterial(damping=1.0, drag=drag))
    assert np.abs(forces(body, BENCH.vertices)).max() < 1e-9, "at rest (F = I)"
    q = BENCH.vertices @ turn().T + [3.0, -2.0, 5.0]
    moving = np.broadcast_to([1.0, 2.0, -3.0], q.shape)
    assert np.abs(forces(body, q)).max() < 1e-8
    felt = np.abs(forces(body, q, moving)).max() / np.abs(forces(body, q, random(1, q.shape))).max()
    assert felt < 1e-9 if drag == 0 else felt > 0.1


def test_spin_is_damped_as_the_law_says():
    """The damping d dF/dt is not objective: it resists a rigid rotation W with the stress d W F."""
    body = soft(material=SoftMaterial(damping=2.0))
    spin = np.cross(np.eye(3), [-0.5, -1.0, 2.0])
    ours = forces(body, BENCH.vertices, BENCH.vertices @ spin.T)[0]
    x = BENCH.vertices[BENCH.surface]
    area = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]) / 2
    expected = np.zeros_like(ours)
    np.add.at(expected, BENCH.surface, -(area @ (2.0 * spin).T)[:, None] / 3)
    np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_patch_test():
    """In a linear deformation, inner vertices feel no force, and the surface carries P N dA."""
    cube = from_voxels([(i, j, k) for i in range(3) for j in range(3) for k in range(3)], 0.2)
    F = np.array([[1.2, 0.1, 0.0], [0.05, 0.9, -0.1], [0.0, 0.2, 1.1]])
    ours = forces(soft(cube), cube.vertices @ F.T)[0]
    mu, lam = STIFF.mu, STIFF.lambda_
    J, stretch = np.linalg.det(F), np.sum(F**2)
    P = mu * (1 - 1 / (stretch + 1)) * F + lam * (J - 1 - 0.75 * mu / lam) * J * np.linalg.inv(F).T
    x = cube.vertices[cube.surface]
    area = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]) / 2
    traction = np.zeros_like(ours)
    np.add.at(traction, cube.surface, -(area @ P.T)[:, None] / 3)
    np.testing.assert_allclose(ours, traction, atol=1e-8 * np.abs(P).max())
    inner = np.all((cube.vertices > 0.1) & (cube.vertices < 0.5), axis=1)
    assert inner.sum() == 8 and np.abs(ours[inner]).max() < 1e-9


def test_momentum_is_kept_and_energy_falls_by_damping_alone():
    """A shaken body in free space keeps its momenta over 300 substeps. Without damping it keeps its
    energy; with damping the energy only falls."""
    q, qd = BENCH.vertices + random(2, BENCH.vertices.shape, 0.02), random(3, BENCH.vertices.shape)

    def total(body, at):
        kinetic = 0.5 * body.mass @ np.sum(np.asarray(at.qd[0]) ** 2, axis=1)
        return kinetic + energy(body, at.q[0])

    for damping in (0.0, 2.0):
        material = SoftMaterial(mu=1200.0, lambda_=800.0, damping=damping)
        body = soft(material=material, dt=DT / 64, substeps=4)
        at, seen = state(q, qd), []
        step = jax.jit(body.step)
        for _ in range(300):
            at = step(at, no_control())
            seen.append(total(body, at))
        m, q1, qd1 = body.mass, np.asarray(at.q[0]), np.asarray(at.qd[0])
        np.testing.assert_allclose(m @ qd1, m @ qd, atol=1e-12)
        if damping == 0:
            np.testing.assert_allclose(m @ np.cross(q1, qd1), m @ np.cross(q, qd), atol=1e-12)
        moving = 0.5 * m @ np.sum(qd**2, axis=1)
        assert (
            np.ptp(seen) < 0.02 * moving
            if damping == 0
            else np.all(np.diff(seen[::20]) < -0.005 * moving)
        )


@pytest.mark.parametrize("activation", [0.2, -0.2])
def test_activation_changes_the_volume_as_the_law_says(activation):
    """A damped body without load comes to rest where pressure balances shear: F = s I with
    mu (1 - 1/(3 s^2 + 1)) + lambda s (s^3 - alpha + a) = 0."""
    body = soft(
        muscle=np.zeros(len(BENCH.tets), int),
        material=SoftMaterial(mu=1200.0, lambda_=800.0, damping=20.0),
        substeps=400,
    )
    at = state(BENCH.vertices)
    for _ in range(30):
        at = body.step(at, jnp.full((1, 1), activation))
    alpha = 1 + 0.75 * 1200 / 800
    s = np.linspace(0.5, 1.5, 100_001)
    s = s[
        np.argmin(
            np.abs(1200 * (1 - 1 / (3 * s**2 + 1)) * s + 800 * s**2 * (s**3 - alpha + activation))
        )
    ]
    settled = TetMesh(np.asarray(at.q[0]), BENCH.tets).volumes.sum() / BENCH.volumes.sum()
    assert settled == pytest.approx(s**3, rel=1e-4)
    assert (settled < 1) == (activation > 0)


def test_free_fall():
    body = soft(gravity=9.81, substeps=480)
    at = body.step(body.init(1), no_control())
    steps = np.arange(1, 481)
    fallen = 9.81 * DT**2 * steps.sum()  # the parabola of semi-implicit Euler
    np.testing.assert_allclose(
        BENCH.vertices - at.q[0], np.broadcast_to([0, 0, fallen], at.q[0].shape), atol=1e-12
    )


def test_refinement_in_time_converges_at_first_order():
    q, qd = BENCH.vertices + random(4, BENCH.vertices.shape, 0.02), random(5, BENCH.vertices.shape)
    ends = [
        np.asarray(soft(substeps=n, dt=0.02 / n, gravity=9.81).step(state(q, qd), no_control()).q)
        for n in (200, 400, 800, 1600)
    ]
    errors = [np.linalg.norm(a - b) for a, b in pairwise(ends)]
    assert [a / b for a, b in pairwise(errors)] == pytest.approx([2, 2], rel=0.1)


def test_contact_by_hand():
    """The lowest vertex of a tetrahedron is 0.02 m deep and slides, sticks or leaves the ground."""
    mesh = TetMesh(
        np.array([[0, 0, 0], [1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]]), np.array([[0, 1, 2, 3]])
    )
    contact = SoftContact(radius=0.05, ke=2e3, kd=0.1, kf=10.0, mu=0.7)
    body = soft(mesh, ground_height=-0.03, contact=contact, material=SoftMaterial(damping=0.0))
    normal = 2e3 * 0.02
    cases = {
        (10.0, 0.0, 0.0): (-0.7 * normal, 0, normal),
        (0.1, 0.2, 0.0): (-10 * 0.1, -10 * 0.2, normal),
        (0.0, 3.0, -4.0): (0, -0.7 * (normal + 0.4), normal + 0.4),
        (0.0, 0.0, 4.0): (0, 0, normal),
    }
    for speed, expected in cases.items():
        felt = forces(body, mesh.vertices, np.tile(speed, (4, 1)))[0]
        np.testing.assert_allclose(felt, [expected, *np.zeros((3, 3))], atol=1e-9)


def test_a_resting_body_bears_its_weight():
    """For a soft cube on the ground, the contact force is its weight, and its four corners have the
    depth weight / (4 ke)."""
    cube = from_voxels([(0, 0, 0)], 0.35)
    body = Tetrahedra(cube, 0.25, 1200, material=SoftMaterial(damping=5.0), dtype=np.float64)
    at = TetrahedraState(body.init(1).q + jnp.array([0, 0, 0.05]), body.init(1).qd)
    for _ in range(20):
        at = body.step(at, no_control())
    depth = 0.05 - np.asarray(at.q[0, :, 2])
    assert np.abs(at.qd).max() < 1e-3
    assert 2e3 * depth[depth > 0].sum() == pytest.approx(9.81 * body.mass.sum(), rel=1e-3)


# ----------------------------------------------------------------------------------------- gradient


def walking(dtype=np.float64, gain=0.3, drag=0.0):
    """The bench as in a task, with muscles and damping, on the ground."""
    return Tetrahedra(
        BENCH,
        1 / 60,
        80,
        muscle=np.arange(len(BENCH.tets)) // 2 - 1,  # the first two have no muscle
        gain=gain,
        material=SoftMaterial(drag=drag),
        dtype=dtype,
        threads=1,
    )


STARTS = ["in contact", "at rest", "inverted", "strongly activated", "reference's damping"]


@pytest.mark.parametrize("case", STARTS)
def test_gradient_against_central_differences(case):
    """Gradient of a random combination of the state after several control steps, with respect to
    positions, velocities and controls."""
    drag = 1.0 if case == "reference's damping" else 0.0
    body = walking(gain=3.0 if case == "strongly activated" else 0.3, drag=drag)
    steps = 1 if case in ("inverted", "at rest") else 12
    q = np.tile(BENCH.vertices, (3, 1, 1))
    if case == "inverted":
        q = q * [0.9, 1.0, -0.2] + [0, 0, 2]
    elif case == "at rest":
        q = q + np.array([0, 0, 5.0])
    else:
        q = q + np.array([0, 0, 0.04]) + random(6, q.shape, 0.01)
        assert (q[..., 2] < 0.05).sum() > 12, "most feet stand on the ground"
    qd = np.zeros_like(q) if case == "at rest" else random(7, q.shape, 0.5)
    weights = random(8, (2, *q.shape))

    @jax.jit
    def value(inputs):
        q, qd, controls = inputs
        at, _ = jax.lax.scan(lambda s, u: (body.step(s, u), None), TetrahedraState(q, qd), controls)
        return jnp.sum(at.q * weights[0]) + 0.01 * jnp.sum(at.qd * weights[1])

    inputs = (q, qd, random(9, (steps, 3, body.controls), 0.5))
    if case == "at rest":
        inputs = (q, qd, np.zeros((steps, 3, body.controls)))
    gradient = jax.grad(value)(inputs)
    for part, seed in ((0, 10), (1, 11), (2, 12)):
        direction = [np.zeros(x.shape) for x in inputs]
        direction[part] = random(seed, inputs[part].shape)
        move = lambda e, d=direction: tuple(x + e * y for x, y in zip(inputs, d, strict=True))  # noqa: E731
        predicted = float(np.sum(gradient[part] * direction[part]))
        e = 1e-7  # larger steps reach a touch-down, where the damping jumps
        difference = float(value(move(e)) - value(move(-e))) / (2 * e)
        size = float(np.linalg.norm(gradient[part]))
        assert size > 1e-6
        assert abs(predicted - difference) < 1e-5 * size, (part, predicted, difference)


def test_single_precision_gradient_is_the_double_one():
    q = np.tile(BENCH.vertices, (20, 1, 1)) + random(13, (20, *BENCH.vertices.shape), 0.01)
    controls = random(14, (8, 20, walking().controls), 0.5)

    def gradient(dtype):
        body = walking(dtype)

        def value(controls):
            start = TetrahedraState(jnp.asarray(q, dtype), jnp.zeros(q.shape, dtype))
            at, _ = jax.lax.scan(lambda s, u: (body.step(s, u), None), start, controls)
            return jnp.sum(at.q * at.qd)

        return np.asarray(jax.jit(jax.grad(value))(jnp.asarray(controls, dtype)), float)

    double, single = gradient(np.float64), gradient(np.float32)
    assert np.linalg.norm(single - double) < 1e-3 * np.linalg.norm(double)


def test_wrong_arguments_are_refused_by_name():
    with pytest.raises(ValueError, match="one entry for each of 25"):
        soft(muscle=np.zeros(3, int))
    with pytest.raises(ValueError, match="substeps"):
        soft(substeps=0)
    with pytest.raises(ValueError, match="must be positive"):
        soft(material=SoftMaterial(density=0.0))
