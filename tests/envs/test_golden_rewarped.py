"""Our simulator, with Rewarped's constants, against trajectories recorded from Rewarped 1.3.3.

The two integrators differ in one point: Rewarped computes its mass matrix once per control step,
ours in every substep. `golden.replay` does either with our forces in float64, which separates this
difference from errors. The noise floor is the change of Rewarped's own trajectory when its start is
multiplied by 1 + 2e-7 n.
"""

from importlib.resources import files

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from golden import accelerations, coordinates, mass_matrices, model, recorded, replay
from rfo.envs.tasks import ant, cartpole
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.mjcf import ContactParameters, load

TASKS = ("cartpole", "ant")


def simulator(data, substeps=None):
    """The recorded model, which advances by one control step or by the given number of substeps."""
    substeps = substeps or int(data["const_substeps"])
    return Articulated(model(data), float(data["const_sim_dt"]) * substeps, substeps)


def start(data, step=-1):
    """Our (q, qd) after a control step; -1 is the initial state."""
    if step < 0:
        return coordinates(data, data["init_joint_q"], data["init_joint_qd"])
    return coordinates(data, data["traj_state_joint_q"][step], data["traj_state_joint_qd"][step])


def single(q, qd):
    return ArticulatedState(jnp.asarray(q, jnp.float32), jnp.asarray(qd, jnp.float32))


def relative(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@pytest.mark.parametrize("task", TASKS)
def test_our_model_files_hold_the_recorded_constants(task):
    """Rewarped turns the world by -90 degrees about x; arrays in a link's own frame are the
    same."""
    theirs = model(recorded(task))
    asset = files("rfo.envs").joinpath(f"assets/{task}.xml")
    contact = ContactParameters(ke=5.2e4, kd=1e3, kf=650.0, mu=0.625)
    ours = load(asset.read_text(), contact, limit_ke=1e3, limit_kd=1e1)
    names = ["parent", "joint", "mass", "com", "inertia", "armature", "damping"]
    names += [
        "contact_link",
        "contact_radius",
        "contact_ke",
        "contact_kd",
        "contact_kf",
        "contact_mu",
    ]
    for name in names:
        np.testing.assert_allclose(
            getattr(ours, name), getattr(theirs, name), atol=2e-6, err_msg=name
        )
    np.testing.assert_array_equal(ours.actuators.dof, theirs.actuators.dof)
    np.testing.assert_allclose(ours.pos[1:], theirs.pos[1:], atol=1e-6)
    np.testing.assert_allclose(np.abs(ours.actuators.gear), np.abs(theirs.actuators.gear))
    bounded = np.abs(theirs.limit_upper) < 100  # the pole's limit is never reached
    for name in ("limit_lower", "limit_upper"):
        np.testing.assert_allclose(
            getattr(ours, name)[bounded], getattr(theirs, name)[bounded], atol=1e-6
        )
    if task == "ant":
        np.testing.assert_allclose(ours.axis[1:], theirs.axis[1:], atol=1e-6)
        np.testing.assert_allclose(
            np.sort(ours.contact_pos, 0), np.sort(theirs.contact_pos, 0), atol=1e-6
        )
    else:  # the frames of cart and pole keep z up: the slide is along x, the hinge along y in both
        np.testing.assert_allclose(ours.axis, np.eye(3)[:2])


def z_up(task, q, qd):
    """The physics of a recorded state in our axes: (x, y, z) becomes (x, -z, y)."""
    if task == "ant":
        turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
        q = np.concatenate([q[:, :3] @ turn.T, upright(q[:, 3:7]), q[:, 7:]], axis=1)
        qd = np.concatenate([qd[:, :3] @ turn.T, qd[:, 3:6] @ turn.T, qd[:, 6:]], axis=1)
    return single(q, qd)


def upright(quat):
    """Quaternions (w, x, y, z) after a rotation by 90 degrees about x."""
    w, x, y, z = quat.T
    return np.stack([w - x, w + x, y - z, y + z], axis=1) * 0.5**0.5


def in_our_axes(task, observation):
    """A recorded observation in our axes; only those of the ant's torso differ."""
    if task == "cartpole":
        return observation
    o = observation.copy()
    o[:, 1:5] = upright(observation[:, [4, 1, 2, 3]])
    o[:, 5:8], o[:, 8:11] = observation[:, [5, 7, 6]], observation[:, [8, 10, 9]]
    o[:, [6, 9]] *= -1
    return o


@pytest.mark.parametrize("task", TASKS)
def test_observations_and_rewards_of_recorded_states(task):
    data = recorded(task)
    env = ant.Ant() if task == "ant" else cartpole.CartPole()
    for step, action in enumerate(data["actions"]):
        state = z_up(task, *start(data, step))
        if task == "ant":
            state = ant.AntState(state, jnp.asarray(action))
        expected = in_our_axes(task, data["traj_obs_obs"][step])
        np.testing.assert_allclose(env.observe(state), expected, atol=5e-6)
        np.testing.assert_allclose(env.reward(state), data["traj_reward"][step], atol=2e-5)


@pytest.mark.parametrize("task", TASKS)
def test_a_step_of_the_task_is_a_step_of_the_recorded_model(task):
    """Checks model file, axes and the sign of the actions together, with and without contact."""
    data = recorded(task)
    env = ant.Ant() if task == "ant" else cartpole.CartPole()
    sim = simulator(data)
    for step in (-1, 9, 20, 30):
        action = jnp.asarray(data["actions"][step + 1])
        state = z_up(task, *start(data, step))
        outcome = env.step(ant.AntState(state, action) if task == "ant" else state, action)
        theirs = sim.step(single(*start(data, step)), action)
        expected = z_up(task, np.asarray(theirs.q), np.asarray(theirs.qd))
        ours = outcome.state.physics if task == "ant" else outcome.state
        np.testing.assert_allclose(ours.q, expected.q, atol=5e-6)
        np.testing.assert_allclose(ours.qd, expected.qd, atol=5e-4)
        assert not outcome.terminated.any()


@pytest.mark.parametrize(("task", "probe"), [("cartpole", "sub"), ("ant", "sub"), ("ant", "subc")])
def test_one_substep(task, probe):
    """Mass matrix, accelerations and next state agree to float32; `subc` starts with six feet in
    the ground."""
    data = recorded(task)
    step = int(data["subc_step"]) if probe == "subc" else -1
    q, qd = start(data, step)
    one, action = simulator(data, substeps=1), data["actions"][step + 1]
    state, m = single(q, qd), one.model
    mass = one.mass_matrix(state).astype(float)
    theirs = mass_matrices(data, q, data[f"{probe}_out_H"])  # without armature
    np.testing.assert_allclose(mass - np.diag(m.armature), theirs, atol=2e-6 * np.abs(theirs).max())

    force = -one.bias(state).astype(float)
    force[:, m.actuators.dof] += m.actuators.gear * action
    qdd = np.linalg.solve(mass, force[..., None])[..., 0]
    expected = accelerations(data, q, qd, data[f"{probe}_in_joint_qdd"])
    np.testing.assert_allclose(qdd, expected, atol=4e-5 * np.abs(expected).max())

    after = one.step(state, action)
    q1, qd1 = coordinates(data, data[f"{probe}_out_joint_q"], data[f"{probe}_out_joint_qd"])
    np.testing.assert_allclose(after.q, q1, atol=5e-7)
    np.testing.assert_allclose(after.qd, qd1, atol=2e-6 * np.abs(qd1).max())


@pytest.mark.parametrize("task", TASKS)
def test_trajectory_with_the_mass_matrix_held(task):
    """All 32 control steps, with contact, stay within five times the noise floor."""
    data = recorded(task)
    q, qd = replay(data, simulator(data), *start(data), data["actions"], refresh=False)
    for step in range(len(q)):
        theirs = start(data, step)
        floor = [data[f"sens_max_abs_joint_{x}"][: step + 1].max() for x in ("q", "qd")]
        np.testing.assert_allclose(q[step], theirs[0], rtol=0, atol=5 * floor[0])
        np.testing.assert_allclose(qd[step], theirs[1], rtol=0, atol=5 * floor[1])


@pytest.mark.parametrize("task", TASKS)
def test_trajectory_with_the_mass_matrix_refreshed(task):
    """With the matrix of every substep, the replay agrees with the simulator: nothing else
    differs."""
    data = recorded(task)
    sim = simulator(data)
    q, qd = replay(data, sim, *start(data), data["actions"], refresh=True)
    state = single(*start(data))
    for step, action in enumerate(data["actions"]):
        state = sim.step(state, action)
        floor = [data[f"sens_max_abs_joint_{x}"][: step + 1].max() for x in ("q", "qd")]
        np.testing.assert_allclose(state.q, q[step], rtol=0, atol=10 * floor[0])
        np.testing.assert_allclose(state.qd, qd[step], rtol=0, atol=10 * floor[1])


@pytest.mark.parametrize(("task", "bound"), [("cartpole", 1e-4), ("ant", 5e-3)])
def test_share_of_the_mass_matrix_in_one_control_step(task, bound):
    """From every recorded state, our control step ends within `bound` of Rewarped's [m, rad]."""
    data = recorded(task)
    sim = simulator(data)
    worst = 0.0
    for step, action in enumerate(data["actions"]):
        after = sim.step(single(*start(data, step - 1)), action)
        worst = max(worst, np.abs(after.q - start(data, step)[0]).max())
    assert bound / 20 < worst < bound


def test_cartpole_over_the_whole_trajectory():
    """Without contact, the effect of the mass matrix stays small for all 32 control steps."""
    data = recorded("cartpole")
    sim, state = simulator(data), single(*start(data))
    for step, action in enumerate(data["actions"]):
        state = sim.step(state, action)
        np.testing.assert_allclose(state.q, start(data, step)[0], atol=5e-3)


def reward(task, q, qd):
    """Rewards of the tasks in the recorded axes (y up), for NumPy and JAX."""
    if task == "cartpole":
        angle = q[:, 1] - 2 * np.pi * ((q[:, 1] + np.pi) // (2 * np.pi))
        return -(angle**2) - 0.1 * qd[:, 1] ** 2 - 0.05 * q[:, 0] ** 2 - 0.1 * qd[:, 0] ** 2
    w, x, y, z = (q[:, i] for i in range(3, 7))
    up = 2 * (y * z - w * x)
    east, south = 1e4 - q[:, 0], -q[:, 2]
    forward = (1 - 2 * (y * y + z * z)) * east + 2 * (x * z - w * y) * south
    return qd[:, 0] + 0.1 * up + forward / (east * east + south * south) ** 0.5 + q[:, 1] - 0.27


@pytest.mark.parametrize("task", TASKS)
def test_rewards_of_recorded_states(task):
    data = recorded(task)
    for step in range(len(data["actions"])):
        np.testing.assert_allclose(
            reward(task, *start(data, step)), data["traj_reward"][step], atol=2e-5
        )


def gradient(task, sim, q, qd, actions):
    """Gradient of the sum of rewards with respect to the actions, by our adjoint."""

    def total(actions):
        def step(state, action):
            state = sim.step(state, action)
            return state, reward(task, state.q, state.qd)

        return jax.lax.scan(step, single(q, qd), actions)[1].sum()

    return np.asarray(jax.grad(total)(jnp.asarray(actions)))


def difference(data, task, sim, q, qd, actions, direction, refresh, eps=1e-3):
    """Central difference of the replay along a direction, per environment."""
    ends = [
        sum(
            reward(task, *x)
            for x in zip(*replay(data, sim, q, qd, moved, refresh=refresh), strict=True)
        )
        for moved in (actions + eps * direction, actions - eps * direction)
    ]
    return (ends[0] - ends[1]) / (2 * eps)


@pytest.mark.parametrize(("task", "steps", "between"), [("cartpole", 8, 0.02), ("ant", 2, 0.1)])
def test_gradient_over_the_last_steps(task, steps, between):
    """In the last steps the ant is in contact with the ground.

    Rewarped's corrected gradient belongs to the fixed mass matrix, ours to the refreshed one.
    `between` bounds the difference.
    """
    data = recorded(task)
    sim, (q, qd) = simulator(data), start(data, len(data["actions"]) - 1 - steps)
    actions, theirs = data["actions"][-steps:], data["grad_actions_fixed"][-steps:]
    ours = gradient(task, sim, q, qd, actions)
    directions = np.random.default_rng(0).choice([-1.0, 1.0], size=(2, *actions.shape))

    def along(values):
        return np.sum(values * directions, axis=(1, 3))

    def differences(refresh):
        return np.stack(
            [difference(data, task, sim, q, qd, actions, d, refresh) for d in directions]
        )

    assert relative(along(ours), differences(refresh=True)) < 2e-3
    assert relative(along(theirs), differences(refresh=False)) < 2e-3
    assert relative(ours, theirs) < between


@pytest.mark.parametrize(("task", "horizon", "between"), [("cartpole", 32, 0.02), ("ant", 2, 0.06)])
def test_gradient_over_the_first_steps(task, horizon, between):
    """Before the ant touches the ground: our gradient against Rewarped's own central
    differences."""
    data = recorded(task)
    sim, (q, qd) = simulator(data), start(data)
    actions, directions = (
        data["actions"][:horizon],
        data["fd_directions"][:, :horizon].astype(float),
    )
    theirs = data["fd_values"][:, 0, list(data["fd_horizons"]).index(horizon)]
    ours = np.sum(gradient(task, sim, q, qd, actions) * directions, axis=(1, 3))
    assert relative(ours, theirs) < between
    if task == "ant":  # without contact, only the mass matrix differs
        held, fresh = (
            np.stack(
                [
                    difference(data, task, sim, q, qd, actions, d, refresh, eps=1e-2)
                    for d in directions
                ]
            )
            for refresh in (False, True)
        )
        assert relative(held, theirs) < 2e-3
        assert relative(ours, fresh) < 2e-4
