"""The humanoid against trajectories of Rewarped 1.3.3; `test_golden_rewarped.py` explains the
method.

Rewarped keeps its mass matrix fixed during a control step, and it also neglects an acceleration. It
treats a joint with several axes as one joint and assumes that these axes are at rest in the
parent's frame, but each axis is turned by those before it. `AsRecorded` neglects the same
acceleration, and then the trajectories agree to the noise floor."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from golden import accelerations, coordinates, mass_matrices, model, recorded, replay
from oracle import motion
from rfo.envs.running import RunningState
from rfo.envs.tasks.humanoid import TARGET_X, humanoid, humanoid_corrected
from rfo.physics.articulated import Articulated, ArticulatedState


@cache
def data():
    return recorded("humanoid")


class AsRecorded(Articulated):
    """Simulator of single substeps that neglects accelerations within joints of several axes."""

    def __init__(self):
        super().__init__(model(data()), float(data()["const_sim_dt"]), 1)

    def bias(self, state):
        return super().bias(state) - np.stack(
            list(map(self._within_joints, *map(np.asarray, state)))
        )

    def _within_joints(self, q, qd):
        """Generalised force (nv,) of the neglected accelerations."""
        m = motion(self.model, q.astype(float), qd.astype(float))
        force = np.zeros(self.model.nv)
        com = np.einsum("lij,lj->li", m.rot, self.model.com)
        below = {}  # for each link, acceleration and anchor of every joint at or above it
        for i, parent in enumerate(self.model.parent):
            below[i] = list(below.get(parent, []))
            if parent > 0 and self.model.mass[parent] == 0:  # a further axis of the joint
                first = parent - (self.model.mass[parent - 1] == 0)
                before = m.angular[i] @ np.where(_dofs(self.model, first, i), qd, 0)
                own = m.angular[i] @ np.where(_dofs(self.model, i, i + 1), qd, 0)
                below[i].append((np.cross(before, own), m.pos[i]))
            if self.model.mass[i] == 0:
                continue
            inertia = m.rot[i] @ self.model.inertia[i] @ m.rot[i].T
            jacobian = m.linear[i] + np.cross(m.angular[i], com[i], axis=0)
            for turn, anchor in below[i]:
                moved = np.cross(turn, m.pos[i] + com[i] - anchor)
                force += self.model.mass[i] * jacobian.T @ moved + m.angular[i].T @ (inertia @ turn)
        return force


def _dofs(model, first, end):
    """Mask of the degrees of freedom of the links in [first, end)."""
    link = np.repeat(np.arange(model.links), model.v_count)
    return (link >= first) & (link < end)


@cache
def substep():
    return AsRecorded()


def start(step=-1):
    """Our (q, qd) after a control step, with y up; -1 is the initial state."""
    if step < 0:
        return coordinates(data(), data()["init_joint_q"], data()["init_joint_qd"])
    return coordinates(
        data(), data()["traj_state_joint_q"][step], data()["traj_state_joint_qd"][step]
    )


def z_up(q, qd):
    """A state with y up as one with z up: (x, y, z) becomes (x, -z, y)."""
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    q = np.concatenate([q[:, :3] @ turn.T, upright(q[:, 3:7]), q[:, 7:]], axis=1)
    qd = np.concatenate([qd[:, :3] @ turn.T, qd[:, 3:6] @ turn.T, qd[:, 6:]], axis=1)
    return ArticulatedState(jnp.asarray(q, jnp.float32), jnp.asarray(qd, jnp.float32))


def upright(quat):
    w, x, y, z = quat.T
    return np.stack([w - x, w + x, y - z, y + z], axis=1) * 0.5**0.5


def test_the_model_file_holds_the_recorded_constants():
    ours, theirs = humanoid().simulator.model, model(data())
    for name in ("parent", "joint", "mass", "com", "inertia", "armature", "damping"):
        np.testing.assert_allclose(
            getattr(ours, name), getattr(theirs, name), atol=2e-6, err_msg=name
        )
    np.testing.assert_array_equal(ours.actuators.dof, theirs.actuators.dof)
    for name in (
        "contact_link",
        "contact_radius",
        "contact_ke",
        "contact_kd",
        "contact_kf",
        "contact_mu",
        "contact_kh",
    ):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), err_msg=name)
    for name in ("pos", "quat", "axis"):
        np.testing.assert_allclose(
            getattr(ours, name)[1:], getattr(theirs, name)[1:], atol=2e-6, err_msg=name
        )
    for name in ("limit_lower", "limit_upper"):
        np.testing.assert_allclose(getattr(ours, name)[6:], getattr(theirs, name)[6:], atol=1e-6)
    for name in ("limit_ke", "limit_kd"):
        np.testing.assert_allclose(getattr(ours, name)[6:], getattr(theirs, name)[6:])
    np.testing.assert_allclose(ours.actuators.gear, -theirs.actuators.gear, rtol=1e-6)
    # the two ends of a capsule come in either order
    ends = [
        np.stack(sorted(m.contact_pos.round(6).tolist(), key=lambda x: (x[2], x[1], x[0])))
        for m in (ours, theirs)
    ]
    np.testing.assert_allclose(*ends, atol=2e-5)


def test_the_corrected_hips_swing_about_y_and_turn_about_z():
    """The strong motor of a hip swings the leg forward."""
    model = humanoid_corrected().simulator.model
    for joint, axis, gear in (("right_hip_z", [0, 0, 1], 70), ("right_hip_y", [0, 1, 0], 210)):
        dof = model.dof_names.index(joint)
        np.testing.assert_allclose(model.axis[np.searchsorted(model.v_start, dof)], axis, atol=1e-9)
        assert model.actuators.gear[model.actuators.dof == dof] == gear


def test_observations_and_rewards_of_recorded_states():
    env = humanoid()
    for step, action in enumerate(data()["actions"]):
        state = RunningState(z_up(*start(step)), jnp.asarray(action))
        expected = data()["traj_obs_obs"][step].copy()
        expected[:, 1:5] = upright(expected[:, [4, 1, 2, 3]])
        expected[:, 5:11] = expected[:, [5, 7, 6, 8, 10, 9]] * [1, -1, 1, 1, -1, 1]
        np.testing.assert_allclose(env.observe(state), expected, atol=5e-6)
        np.testing.assert_allclose(env.reward(state), data()["traj_reward"][step], atol=2e-5)


@pytest.mark.parametrize("probe", ["sub", "subc"])
def test_one_substep(probe):
    """Mass matrix and accelerations agree to float32; `subc` starts with a foot in the ground."""
    step = int(data()["subc_step"]) if probe == "subc" else -1
    q, qd = start(step)
    action, one = data()["actions"][step + 1], substep()
    state = ArticulatedState(jnp.asarray(q, jnp.float32), jnp.asarray(qd, jnp.float32))
    mass = one.mass_matrix(state).astype(float)
    theirs = mass_matrices(data(), q, data()[f"{probe}_out_H"])
    np.testing.assert_allclose(
        mass - np.diag(one.model.armature), theirs, atol=2e-6 * np.abs(theirs).max()
    )
    force = -one.bias(state).astype(float)
    force[:, one.model.actuators.dof] += one.model.actuators.gear * action
    qdd = np.linalg.solve(mass, force[..., None])[..., 0]
    expected = accelerations(data(), q, qd, data()[f"{probe}_in_joint_qdd"])
    np.testing.assert_allclose(qdd, expected, atol=2e-4 * np.abs(expected).max())


def test_steps_with_the_mass_matrix_held():
    """Rewarped's integrator with our forces stays at the noise floor for five control steps.

    The steps include contact. The next five stay there too, but would double the test's time."""
    q, _ = replay(data(), substep(), *start(), data()["actions"][:5], refresh=False)
    for step in range(5):
        floor = data()["sens_max_abs_joint_q"][: step + 1].max()
        np.testing.assert_allclose(q[step], start(step)[0], rtol=0, atol=10 * floor)


def test_a_step_of_the_task_is_a_step_of_the_recorded_model():
    """Checks model file, hips, axes and the sign of the actions together, with and without
    contact."""
    env, theirs = humanoid(), Articulated(model(data()), 1 / 60, 48)
    for step in (-1, 5, 12):
        action = jnp.asarray(data()["actions"][step + 1])
        outcome = env.step(RunningState(z_up(*start(step)), action), action)
        after = theirs.step(
            ArticulatedState(*(jnp.asarray(x, jnp.float32) for x in start(step))), action
        )
        expected = z_up(np.asarray(after.q), np.asarray(after.qd))
        np.testing.assert_allclose(outcome.state.physics.q, expected.q, atol=5e-5)
        np.testing.assert_allclose(outcome.state.physics.qd, expected.qd, atol=5e-3)


def recorded_reward(q, qd, action):
    """Reward of the task in the recorded axes (y up), for NumPy and JAX."""
    w, x, y, z = (q[:, i] for i in range(3, 7))
    east, south = TARGET_X - q[:, 0], -q[:, 2]
    forward = (1 - 2 * (y * y + z * z)) * east + 2 * (x * z - w * y) * south
    up = 2 * (y * z - w * x)
    lift = jnp.clip(q[:, 1] - 0.84, -1, 0.1)
    height = jnp.where(lift < 0, -200 * lift**2, 10 * lift)
    return (
        qd[:, 0]
        + 0.1 * up
        + forward / (east**2 + south**2) ** 0.5
        + height
        - 0.002 * (action**2).sum(1)
    )


def test_gradient_over_one_step():
    """Our gradient agrees with differences of the true equations, and the recorded differences with
    those of Rewarped's equations. The two derivatives differ in the second digit."""
    q, qd = start()
    actions, direction = data()["actions"][:1], data()["fd_directions"][0, :1].astype(float)
    sim = Articulated(model(data()), 1 / 60, 48)

    def total(actions):
        state = ArticulatedState(jnp.asarray(q, jnp.float32), jnp.asarray(qd, jnp.float32))
        return recorded_reward(*sim.step(state, actions[0]), actions[0]).sum()

    def difference(simulator, refresh):
        ends = []
        for moved in (actions + 1e-2 * direction, actions - 1e-2 * direction):
            states = replay(data(), simulator, q, qd, moved, refresh=refresh)
            ends.append(recorded_reward(states[0][0], states[1][0], moved[0]))
        return np.asarray(ends[0] - ends[1]) / 2e-2

    along = np.sum(np.asarray(jax.grad(total)(jnp.asarray(actions))) * direction, axis=(0, 2))
    plain = Articulated(substep().model, substep().dt, 1)
    np.testing.assert_allclose(along, difference(plain, refresh=True), rtol=5e-3)
    np.testing.assert_allclose(
        difference(substep(), refresh=False), data()["fd_values"][0, 0, 0], rtol=5e-3
    )
    assert np.all(np.abs(along / data()["fd_values"][0, 0, 0] - 1) < 0.5)
