"""Soft walkers against Rewarped's table and trajectories, and against hand arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compiled import reset
from golden import per_env, recorded
from rfo.envs.base import open_loop
from rfo.envs.tasks.soft_jumper import (
    EDGE,
    SoftState,
    bench,
    soft_jumper,
    soft_jumper_corrected,
    soft_jumper_small,
    soft_worm,
    table,
    worm,
)
from rfo.physics.mesh import TetMesh
from rfo.physics.tetrahedra import SoftMaterial, Tetrahedra, TetrahedraState

TASKS = {f.__name__: f for f in (soft_jumper, soft_jumper_corrected, soft_jumper_small, soft_worm)}


@pytest.fixture(scope="module", params=TASKS)
def task(request):
    return TASKS[request.param](threads=1)


def upright(x):
    """Vectors of Rewarped's world with y up, in ours with z up."""
    return np.stack([x[..., 0], -x[..., 2], x[..., 1]], axis=-1)


# ---------------------------------------------------------------------------- recorded trajectories


@pytest.fixture(scope="module")
def jumper():
    return recorded("jumper")


def recorded_body(data, dtype=np.float32):
    """The simulator on the recorded mesh, with the recorded constants, which are our defaults."""
    vertices = upright(per_env(data, data["model_particle_q"])[0])
    tets = data["model_tet_indices"][
        : len(data["model_tet_indices"]) // int(data["const_num_envs"])
    ]
    defaults = SoftMaterial()
    assert np.all(data["model_tet_materials"] == [defaults.mu, defaults.lambda_, defaults.damping])
    body = Tetrahedra(
        TetMesh(vertices, tets),
        float(data["const_frame_dt"]),
        int(data["const_substeps"]),
        muscle=np.arange(len(tets)) // 2,
        gain=float(data["const_action_scale"]),
        material=SoftMaterial(drag=1.0),
        dtype=dtype,
        threads=1,
    )
    np.testing.assert_allclose(body.mass, per_env(data, data["model_particle_mass"])[0], atol=1e-8)
    return body


def recorded_start(data):
    q, qd = (upright(per_env(data, data[f"init_particle_{x}"])) for x in ("q", "qd"))
    return TetrahedraState(jnp.asarray(q), jnp.asarray(qd))


def test_our_table_is_the_reference_s(jumper):
    """The vertices are the same, and as many tetrahedra have each of the two sizes."""
    theirs, ours = recorded_body(jumper).mesh, table()

    def corners(mesh):
        grid = np.rint((mesh.vertices - mesh.vertices.min(0)) / EDGE).astype(int)
        return {tuple(corner) for corner in grid}

    assert corners(ours) == corners(theirs)
    assert len(ours.tets) == len(theirs.tets) == 444
    np.testing.assert_allclose(np.sort(ours.volumes), np.sort(theirs.volumes), rtol=1e-5)
    assert len(ours.surface) == len(theirs.surface)


def test_trajectories_stay_at_the_noise_floor(jumper):
    """All 24 control steps stay within four times the noise floor; the last ten are in contact.

    The noise floor is the change of Rewarped's own trajectory when its start is multiplied by
    1 + 2e-7 n."""
    body, at = recorded_body(jumper), recorded_start(jumper)
    step, touched = jax.jit(body.step), False
    for t, action in enumerate(jumper["actions"]):
        at = step(at, jnp.asarray(action))
        for ours, name in ((at.q, "q"), (at.qd, "qd")):
            theirs = upright(per_env(jumper, jumper[f"traj_state_particle_{name}"][t]))
            floor = max(1e-6, jumper[f"sens_max_abs_particle_{name}"][: t + 1].max())
            assert np.abs(ours - theirs).max() < 4 * floor, (t, name)
        touched |= bool((at.q[..., 2] < 0.05).any())
    assert touched


def test_gradient_is_the_corrected_reference_s(jumper):
    """Our gradient of the sum of rewards agrees with Rewarped's corrected one,
    `grad_actions_fixed`.

    Before contact it also agrees with recorded central differences. It does not agree with the
    gradient that Rewarped itself returns in contact."""
    body, start = recorded_body(jumper), recorded_start(jumper)
    rest = float(body.mesh.vertices[:, 2].mean())

    def rewards(actions):
        def step(at, action):
            at = body.step(at, action)
            speed, height = 0.1 * at.qd.mean(1)[:, 0], 0.1 * (at.q.mean(1)[:, 2] - rest)
            return at, 10 * speed + 30 * height - 0.001 * jnp.sum(action**2, axis=-1)

        return jax.lax.scan(step, start, actions)[1]

    actions = jnp.asarray(jumper["actions"])
    np.testing.assert_allclose(jax.jit(rewards)(actions), jumper["traj_reward"], atol=2e-5)
    gradient = np.asarray(jax.jit(jax.grad(lambda a: rewards(a).sum()))(actions))
    fixed, shipped = jumper["grad_actions_fixed"], jumper["grad_actions"]
    far = lambda x: np.linalg.norm(gradient - x) / np.linalg.norm(x)  # noqa: E731
    assert far(fixed) < 0.06 < far(shipped)
    early = jumper["fd_horizons"].tolist().index(8)  # before the ground
    partial = np.asarray(jax.jit(jax.grad(lambda a: rewards(a)[:8].sum()))(actions))
    predicted = np.einsum("dtba,tba->db", jumper["fd_directions"].astype(float), partial)
    differences = jumper["fd_values"][:, 0, early]
    np.testing.assert_allclose(predicted, differences, atol=0.02 * np.abs(differences).max())


# ----------------------------------------------------------------------------------------- the task


def test_sizes():
    sizes = {
        name: (len(m.vertices), len(m.tets)) for name, m in (("bench", bench()), ("worm", worm()))
    }
    assert sizes == {"bench": (36, 50), "worm": (54, 80)}
    spec = soft_jumper(threads=1).spec
    assert spec.action_size == 222
    assert spec.observation == {
        "particle_q": (204, 3),
        "com_q": (3,),
        "com_qd": (3,),
        "actions": (222,),
    }
    assert (spec.dt, spec.episode_length) == (1 / 60, 300)


def test_reset_lifts_shifts_and_scales(task):
    """Every start is the rest mesh, moved and scaled, at rest; the starts cover the stated
    ranges."""
    state = reset(task, 0, 400)
    rest = task.simulator.mesh.vertices
    q = np.asarray(state.physics.q, float)
    scale = np.ptp(q[..., 2], axis=1) / np.ptp(rest[:, 2])
    middle = rest.mean(0) if task.version.about_centre else np.zeros(3)
    shift = (
        (q.mean(1) - rest.mean(0))
        if task.version.about_centre
        else q.mean(1) / scale[:, None] - rest.mean(0)
    )
    rebuilt = (rest - middle) * scale[:, None, None] + middle
    rebuilt += shift[:, None] * (1 if task.version.about_centre else scale[:, None, None])
    np.testing.assert_allclose(q, rebuilt, atol=1e-5)
    for values, low, high in (
        (scale, 0.9, 1.1),
        (shift[:, 0], -0.8, 0.8),
        (shift[:, 1], -0.8, 0.8),
        (shift[:, 2], 0, 0.4),
    ):
        assert low - 1e-5 <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high + 1e-5
    assert not np.any(state.physics.qd) and not np.any(state.action)


def test_observation_and_reward_by_hand(task):
    rng = np.random.default_rng(0)
    size, nodes = task.spec.action_size, len(task.simulator.mesh.vertices)
    q, qd = rng.normal(size=(2, 3, nodes, 3))
    action = rng.uniform(-1, 1, (3, size))
    state = SoftState(TetrahedraState(jnp.asarray(q), jnp.asarray(qd)), jnp.asarray(action))
    seen = task.observe(state)
    origin = q.mean(1, keepdims=True) * [1, 1, 0] if task.version.about_centre else 0
    np.testing.assert_allclose(seen["particle_q"], 0.1 * (q - origin), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen["com_q"], 0.1 * q.mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen["com_qd"], 0.1 * qd.mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen["actions"], action, rtol=1e-6)
    start = task.simulator.mesh.vertices[:, 2].mean()
    by_hand = qd.mean(1)[:, 0] + 3 * (q.mean(1)[:, 2] - start) - 0.001 * (action**2).sum(1)
    np.testing.assert_allclose(task.reward(state), by_hand, rtol=1e-4, atol=1e-5)


def test_action_is_clipped_and_drives_two_neighbours():
    task = soft_jumper_small(threads=1)
    state, step = reset(task, 1, 2), jax.jit(task.step)
    one = jnp.zeros((2, task.spec.action_size)).at[:, 3].set(1.0)
    far, near = step(state, 5 * one), step(state, one)
    np.testing.assert_array_equal(far.state.physics.q, near.state.physics.q)
    np.testing.assert_array_equal(far.state.action, one)
    body = Tetrahedra(task.simulator.mesh, 1 / 60, 80, muscle=np.arange(50), gain=0.3, threads=1)
    muscles = jnp.zeros((2, 50)).at[:, 6:8].set(1.0)
    np.testing.assert_array_equal(body.step(state.physics, muscles).q, near.state.physics.q)


def test_a_corrected_task_is_the_same_wherever_it_starts():
    """A shift by 30 m does not change rewards and points, up to float32. In the faithful task it
    changes the points."""
    actions = jax.random.uniform(jax.random.key(2), (10, 2, 222), minval=-1.0)
    for make, same in ((soft_jumper_corrected, True), (soft_jumper, False)):
        task = make(threads=1)
        state = reset(task, 3, 2)
        run = jax.jit(lambda s, task=task: open_loop(task, s, actions)[1])
        moved = SoftState(
            state.physics._replace(q=state.physics.q + jnp.array([30.0, 0, 0])), state.action
        )
        points = [np.asarray(task.observe(s)["particle_q"]) for s in (state, moved)]
        assert np.allclose(*points, atol=1e-5) == same
        rewards = [np.asarray(run(s)) for s in (state, moved)]
        np.testing.assert_allclose(*rewards, atol=0.02)


def test_frame_shows_the_muscles_of_the_surface(task):
    state = reset(task, 4, 2)
    state = state._replace(
        action=jax.random.uniform(jax.random.key(5), state.action.shape, minval=-1)
    )
    frame, mesh = task.frame(state), task.simulator.mesh
    np.testing.assert_array_equal(frame["vertices"], state.physics.q)
    for triangle in (0, len(mesh.surface) // 2, -1):
        owner = next(
            i
            for i, tet in enumerate(mesh.tets)
            if set(mesh.surface[triangle].tolist()) <= set(tet.tolist())
        )
        np.testing.assert_array_equal(frame["activation"][:, triangle], state.action[:, owner // 2])
