"""The articulated simulator against mechanics.

It is held to closed forms, conserved quantities, and its contact law.
"""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.special import ellipk

from oracle import motion, random_state
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Joint, Model
from rollouts import Inputs, Rollout, shipped, tree

G = 9.81
NO_CONTACT = ContactParameters(0, 0, 0, 0)
GROUND = '<geom name="ground" type="plane" size="1 1 1"/>'


def model(
    body: str,
    contact: ContactParameters = NO_CONTACT,
    gravity=(0, 0, -G),
    motor: str = "",
    **limits,
):
    """A model of the given bodies over the ground z = 0."""
    weight = " ".join(map(str, gravity))
    actuator = f'<actuator><motor joint="{motor}" gear="1"/></actuator>' if motor else ""
    text = f"""<mujoco><compiler angle="radian" autolimits="true"/><option gravity="{weight}"/>
        <worldbody>{GROUND}{body}</worldbody>{actuator}</mujoco>"""
    return load(text, contact, **({"limit_ke": 1e3, "limit_kd": 1e1} | limits))


def slider(options: str = "", **keywords) -> Model:
    """2 kg on a vertical slide far above the ground."""
    return model(
        f'<body pos="0 0 9"><joint name="z" type="slide" axis="0 0 1" {options}/>'
        '<geom type="sphere" size="0.1" mass="2"/></body>',
        motor="z",
        **keywords,
    )


def simulate(
    of: Model, q: np.ndarray, qd: np.ndarray, dt: float, steps: int, control: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """States (T, nq), (T, nv) of one copy in float64, one substep a step."""
    controls = np.full((steps, 1, of.nu), control)
    qs, qds = Rollout(of, 1, dt, 1).states(
        Inputs(np.array([q], float), np.array([qd], float), controls)
    )
    return qs[:, 0], qds[:, 0]


# -------------------------------------------------------------------------------------- free motion


def test_free_fall_is_that_of_semi_implicit_euler():
    """v_n = v_0 - n g dt,  z_n = z_0 + n v_0 dt - n (n + 1) / 2 g dt^2."""
    ball = model('<body pos="0 0 5"><freejoint/><geom type="sphere" size="0.1" mass="3"/></body>')
    dt, n = 0.01, np.arange(1, 81)
    v0 = np.array([1.0, -2.0, 3.0])
    q, qd = simulate(ball, ball.q0, np.append(v0, np.zeros(3)), dt, len(n))
    np.testing.assert_allclose(qd[:, :3], v0 + np.outer(n, [0, 0, -G * dt]), atol=1e-12)
    fall = np.outer(n, v0 * dt) + np.outer(n * (n + 1) / 2, [0, 0, -G * dt**2])
    np.testing.assert_allclose(q[:, :3], ball.q0[:3] + fall, atol=1e-12)


def test_a_free_tree_far_from_home_moves_as_it_does_at_home():
    """Bit for bit in single precision: nothing is computed about the world's origin."""
    of = replace(shipped("ant"), ground_height=-1e4)
    rng = np.random.default_rng(0)
    q, qd = of.q0 + 0.1 * rng.normal(size=(4, of.nq)), rng.normal(size=(4, of.nv))
    rollout = Rollout(of, 4, 1 / 60, 16, np.float32)
    moved = q + np.array([1e3, -2e3] + [0.0] * (of.nq - 2))
    here, there = (rollout.step(x, qd, np.ones((4, of.nu))) for x in (q, moved))
    np.testing.assert_array_equal(here[1], there[1])
    np.testing.assert_array_equal(here[0][:, 2:], there[0][:, 2:])


def momenta(of: Model, q: np.ndarray, qd: np.ndarray) -> np.ndarray:
    """Linear momentum, and angular momentum about the centre of mass."""
    m = motion(of, q, qd)
    arms = np.einsum("lij,lj->li", m.rot, of.com)
    centre, omega = m.pos + arms, m.angular @ qd
    velocity = m.linear @ qd + np.cross(omega, arms)
    mean = of.mass @ centre / of.mass.sum()
    spin = np.einsum("lij,ljk,lmk,lm->li", m.rot, of.inertia, m.rot, omega)
    orbital = np.cross(centre - mean, of.mass[:, None] * velocity)
    return np.concatenate([of.mass @ velocity, (spin + orbital).sum(0)])


def test_momentum_of_a_free_tree_is_kept_to_first_order():
    """In flight without gravity, driven by its own motors: the error halves with the time step."""
    of = replace(shipped("ant"), gravity=np.zeros(3), ground_height=-1e4)
    rng = np.random.default_rng(2)
    q0 = of.q0 + np.append(np.zeros(7), 0.2 * rng.normal(size=of.nq - 7))
    qd0 = 0.5 * rng.normal(size=of.nv)
    before, drifts = momenta(of, q0, qd0), []
    for steps in (400, 800, 1600):
        q, qd = simulate(of, q0, qd0, 0.5 / steps, steps, control=0.2)
        drifts.append(np.linalg.norm(momenta(of, q[-1], qd[-1]) - before))
        assert np.linalg.norm(qd[-1] - qd0) > 1  # it does move
    np.testing.assert_allclose(drifts[0] / np.array(drifts), [1, 2, 4], rtol=0.1)
    assert drifts[-1] < 1e-2 * np.linalg.norm(before)


def energy(of: Model, q: np.ndarray, qd: np.ndarray) -> np.ndarray:
    """Kinetic and potential energy (T,) of states (T, nq), (T, nv), without springs."""
    simulator = Articulated(of, dt=1, substeps=1, dtype=np.float64)
    mass = simulator.mass_matrix(ArticulatedState(q, qd))
    potential = []
    for x in q:
        m = motion(of, x, np.zeros(of.nv))
        centre = m.pos + np.einsum("lij,lj->li", m.rot, of.com)
        potential.append(-(of.mass @ centre) @ of.gravity)
    return 0.5 * np.einsum("ti,tij,tj->t", qd, mass, qd) + np.array(potential)


@pytest.mark.parametrize("seed", [0, 3])
def test_energy_of_a_conservative_tree_is_kept_to_first_order(seed):
    of = tree(seed)
    nothing = np.zeros(of.nv)
    of = replace(
        of,
        damping=nothing,
        stiffness=nothing,
        limit_ke=nothing,
        limit_kd=nothing,
        ground_height=-1e3,
    )
    q0, qd0 = random_state(of, np.random.default_rng(seed))
    drifts = []
    for steps in (200, 400, 800):
        q, qd = simulate(of, q0, qd0, 0.1 / steps, steps)
        start, end = energy(of, np.stack([q0, q[-1]]), np.stack([qd0, qd[-1]]))
        drifts.append(abs(end - start))
    np.testing.assert_allclose(drifts[0] / np.array(drifts), [1, 2, 4], rtol=0.1)
    kinetic = energy(replace(of, gravity=np.zeros(3)), q[::50], qd[::50])
    assert drifts[-1] < 0.01 * np.ptp(kinetic)


# ----------------------------------------------------------------------------------------- pendulum


def period(amplitude: float, dt: float) -> float:
    """Of a point mass on a massless rod of 1 m, by the crossings of the lowest point [s]."""
    pendulum = model(
        '<body pos="0 0 9"><joint type="hinge" axis="0 1 0"/>'
        '<inertial pos="0 0 -1" mass="2" diaginertia="1e-9 1e-9 1e-9"/></body>'
    )
    steps = int(2.6 * 2 * np.pi / np.sqrt(G) / dt)
    q = simulate(pendulum, np.array([amplitude]), np.zeros(1), dt, steps)[0][:, 0]
    before = np.flatnonzero(q[:-1] * q[1:] < 0)[:3]
    crossings = before + q[before] / (q[before] - q[before + 1])
    return dt * (crossings[2] - crossings[0])


@pytest.mark.parametrize("amplitude", [0.01, 1.0, 2.5])
def test_period_of_a_pendulum(amplitude):
    """4 sqrt(l / g) K(sin(amplitude / 2)), the complete elliptic integral."""
    exact = 4 / np.sqrt(G) * ellipk(np.sin(amplitude / 2) ** 2)
    errors = np.array([abs(period(amplitude, dt) / exact - 1) for dt in (0.02, 0.01)])
    assert errors[1] < 1e-3 and 3.6 < errors[0] / errors[1] < 4.4  # second order


# ---------------------------------------------------------------------------- one degree of freedom


def test_damping_is_implicit():
    """v_n = v_0 / (1 + c dt / m)^n."""
    of = slider('damping="30"', gravity=(0, 0, 0))
    _, qd = simulate(of, np.zeros(1), np.ones(1), 0.05, 20)
    np.testing.assert_allclose(qd[:, 0], (1 + 30 * 0.05 / 2) ** -np.arange(1.0, 21), rtol=1e-12)


def test_armature_adds_to_the_mass_but_not_to_the_weight():
    _, qd = simulate(slider('armature="3"'), np.zeros(1), np.zeros(1), 0.1, 1, control=50)
    np.testing.assert_allclose(qd[0, 0], 0.1 * (50 - 2 * G) / (2 + 3), rtol=1e-12)


def test_springs_pull_to_their_reference():
    of = slider('stiffness="40" springref="0.3"', gravity=(0, 0, 0))
    _, qd = simulate(of, np.array([0.1]), np.zeros(1), 0.01, 1)
    np.testing.assert_allclose(qd[0, 0], 0.01 * 40 * (0.3 - 0.1) / 2, rtol=1e-12)


@pytest.mark.parametrize(
    "q, v", [(0.3, 1), (0.5, 1), (0.7, 1), (0.7, -1), (-0.5, 1), (-0.5, -1), (-0.1, -1)]
)
def test_limits_push_and_damp_only_beyond(q, v):
    of = slider('range="-0.2 0.5"', gravity=(0, 0, 0), limit_ke=300, limit_kd=7)
    beyond = min(q + 0.2, 0) + max(q - 0.5, 0)
    force = -300 * beyond - (7 * v if beyond else 0)
    _, qd = simulate(of, np.array([q]), np.array([v]), 0.01, 1)
    np.testing.assert_allclose(qd[0, 0], v + 0.01 * force / 2, rtol=1e-12)


def test_a_weight_rests_beyond_its_limit():
    of = slider('range="-0.2 0.5"', limit_ke=1e3, limit_kd=90)
    q, qd = simulate(of, np.zeros(1), np.zeros(1), 0.005, 600)
    np.testing.assert_allclose(q[-1, 0], -0.2 - 2 * G / 1e3, rtol=1e-9)
    assert abs(qd[-1, 0]) < 1e-9


# ------------------------------------------------------------------------------------------ contact


def expected_contact(
    of: Model, q: np.ndarray, qd: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str]:
    """Force on a free sphere and moment about its centre, by the law in `rfo.physics.articulated`.

    The third value names the case.
    """
    n = of.ground_normal
    lowest = -of.contact_radius[0] * n
    depth = of.ground_height - n @ (q[:3] + lowest)
    if depth <= 0:
        return np.zeros(3), np.zeros(3), "apart"
    velocity = qd[:3] + np.cross(qd[3:], lowest)
    normal = n @ velocity
    tangential = velocity - normal * n
    pressure = of.contact_ke[0] * depth + (of.contact_kd[0] + of.contact_kh[0] * depth) * max(
        -normal, 0
    )
    grip = min(of.contact_kf[0], of.contact_mu[0] * pressure / np.linalg.norm(tangential))
    force = pressure * n - grip * tangential
    case = "sticks" if grip == of.contact_kf[0] else "slides"
    return force, np.cross(lowest, force), f"{case} {'in' if normal < 0 else 'out'}"


def test_contact_follows_its_law():
    """The whole bias of spinning spheres at a tilted ground: weight, gyroscopic moment, contact."""
    of = model(
        '<body><freejoint/><geom type="sphere" size="0.2" mass="3"/></body>',
        ContactParameters(ke=500, kd=20, kf=15, mu=0.6, kh=300),
    )
    of = replace(of, ground_normal=np.array([0.48, -0.6, 0.64]), ground_height=0.3)
    rng = np.random.default_rng(0)
    q = np.concatenate(
        [of.ground_normal * 0.48 + 0.1 * rng.normal(size=(200, 3)), np.ones((200, 4))], 1
    )
    qd = rng.normal(size=(200, 6)) * rng.choice([0.1, 2], (200, 1))
    bias = Articulated(of, dt=1, substeps=1, dtype=np.float64).bias(ArticulatedState(q, qd))
    cases = set()
    for i in range(200):
        force, moment, case = expected_contact(of, q[i], qd[i])
        cases.add(case)
        expected = np.concatenate(
            [3 * np.array([0, 0, G]) - force, -moment]
        )  # a sphere has no gyroscopic moment
        np.testing.assert_allclose(bias[i], expected, rtol=1e-9, atol=1e-9)
    assert cases == {"apart", "sticks in", "sticks out", "slides in", "slides out"}


BLOCK = '<body pos="0 0 0.05"><freejoint/><geom type="box" size="0.5 0.5 0.05" mass="8"/></body>'


def test_rest_on_the_ground():
    """A block sinks in until its springs carry it: m g / (sum of k_e)."""
    of = model(BLOCK, ContactParameters(ke=5e3, kd=500, kf=1e3, mu=0.5))
    q, qd = simulate(of, of.q0, np.zeros(6), 0.002, 1500)
    np.testing.assert_allclose(0.05 - q[-1, 2], 8 * G / (4 * 5e3), rtol=1e-6)
    np.testing.assert_allclose(q[-1, [0, 1, 3, 4, 5, 6]], [0, 0, 1, 0, 0, 0], atol=1e-9)
    assert np.abs(qd[-1]).max() < 1e-9


def on_incline(angle: float) -> tuple[Model, np.ndarray]:
    """A block of friction coefficient 0.5 on a slope, and its settled coordinates."""
    of = model(
        BLOCK,
        ContactParameters(ke=5e3, kd=500, kf=200, mu=0.5),
        (G * np.sin(angle), 0, -G * np.cos(angle)),
    )
    q = of.q0.copy()
    q[2] -= 8 * G * np.cos(angle) / (4 * 5e3)
    return of, q


def test_below_the_friction_angle_a_block_only_creeps():
    """Regularised friction holds a load F at the speed F / (sum of k_f)."""
    angle = np.arctan(0.5) - 0.05
    of, q = on_incline(angle)
    _, qd = simulate(of, q, np.zeros(6), 0.001, 800)
    np.testing.assert_allclose(qd[-1, 0], 8 * G * np.sin(angle) / (4 * 200), rtol=1e-3)
    assert np.abs(qd[-1, 1:]).max() < 1e-3


def test_above_the_friction_angle_a_block_slides():
    """With the acceleration g (sin - mu cos)."""
    angle = np.arctan(0.5) + 0.2
    of, q = on_incline(angle)
    dt = 0.001
    _, qd = simulate(of, q, np.array([2.0, 0, 0, 0, 0, 0]), dt, 800)
    acceleration = (qd[-1, 0] - qd[399, 0]) / (400 * dt)
    np.testing.assert_allclose(acceleration, G * (np.sin(angle) - 0.5 * np.cos(angle)), rtol=1e-3)


def test_the_ground_never_pulls():
    """A sphere that leaves the ground fast feels its spring, no damping."""
    of = model(
        '<body><freejoint/><geom type="sphere" size="0.2" mass="3"/></body>',
        ContactParameters(ke=500, kd=1e4, kf=0, mu=0),
    )
    q = np.array([0, 0, 0.19, 1, 0, 0, 0])
    _, qd = simulate(of, q, np.array([0, 0, 5.0, 0, 0, 0]), 1e-3, 1)
    np.testing.assert_allclose(qd[0, 2], 5 + 1e-3 * (500 * 0.01 / 3 - G), rtol=1e-12)


# -------------------------------------------------------------------------------------- conventions


def test_the_length_of_a_quaternion_does_not_matter():
    of = tree(1)
    q, qd = random_state(of, np.random.default_rng(0))
    longer = q.copy()
    for start, kind in zip(of.q_start, of.joint, strict=True):
        if kind in (Joint.FREE, Joint.BALL):
            first = start + 3 * (kind == Joint.FREE)
            longer[first : first + 4] *= 2.5
    for one, other in zip(
        simulate(of, q, qd, 0.01, 5), simulate(of, longer, qd, 0.01, 5), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_init_is_the_reference_at_rest():
    simulator = Articulated(shipped("ant"), 1 / 60, 16, threads=1)
    state = simulator.init(3)
    np.testing.assert_array_equal(state.q, np.tile(shipped("ant").q0.astype(np.float32), (3, 1)))
    assert state.qd.shape == (3, 14) and not state.qd.any()
    assert jax.tree.map(lambda x: x.dtype.name, state) == ArticulatedState("float32", "float32")


@pytest.mark.parametrize("dt, substeps", [(0.0, 1), (-1.0, 1), (0.1, 0)])
def test_times_must_be_positive(dt, substeps):
    with pytest.raises(ValueError, match="must be positive"):
        Articulated(shipped("ant"), dt, substeps)
