"""Action chunks against hand arithmetic, and against the control steps that they consist of."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.rfo import RFO
from rfo.algos.settings import Critic, Network
from rfo.algos.shac import SHAC
from rfo.envs.base import Step, open_loop
from rfo.envs.batch import Batch
from rfo.envs.chunk import ChunkedBatch
from rfo.envs.tasks.probe import LQR, ReachCloud, Terminating, Truncating

GAMMA = 0.5


def chunk_of(*actions, batch):
    """The same chunk of one-dimensional actions for every environment."""
    return jnp.tile(jnp.array(actions), (batch, 1))


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_trees_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b)


def numbers(tree):
    """The tree with random keys replaced by their data."""
    return jax.tree.map(
        lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x,
        tree,
    )


@pytest.mark.parametrize(
    "task", [Terminating(life=3), ReachCloud(points=4)], ids=lambda t: t.spec.name
)
def test_a_chunk_of_one_is_no_chunk_bit_for_bit(task):
    """Some episodes end on the way; the observations are vectors and point clouds."""
    plain, chunked = Batch(task, 8), ChunkedBatch(task, 8, 1, GAMMA)
    assert chunked.spec == plain.spec and chunked.stride == plain.stride == 1
    state, ended = plain.init(jax.random.key(0)), 0
    for i in range(4):
        action = jax.random.uniform(jax.random.key(i), (8, plain.spec.action_size), minval=-1.0)
        one, other = plain.step(state, action), chunked.step(state, action)
        assert_trees_equal(numbers(one), numbers(other))
        state, ended = one.state, ended + int(one.done.sum())
    assert ended > 0


def test_no_chunk_trains_bit_for_bit_as_before_and_a_chunk_of_one_too():
    """Compares a whole update of SHAC, with its gradient and its critics."""
    critic = Critic(hidden=(8,), iterations=1, batches=2)
    algorithm = SHAC(horizon=4, network=Network(hidden=(8,)), critic=critic)
    outcomes = []
    for env in (
        Batch(Terminating(life=3), 8),
        ChunkedBatch(Terminating(life=3), 8, 1, algorithm.gamma),
    ):
        update = jax.jit(lambda key, env=env: algorithm.update(algorithm.init(key, env), env))
        state, _ = update(jax.random.key(0))
        outcomes.append((state.actor.net, state.critics.nets, state.normalizer))
    assert_trees_equal(*outcomes)


def test_is_its_control_steps_while_no_episode_ends():
    """State and observation of a chunk are those after its steps; its reward is their discounted
    sum."""
    task, size, chunk = LQR(), 5, 3
    env, plain = ChunkedBatch(task, size, chunk, GAMMA), Batch(task, size)
    assert env.spec.action_size == 3 and env.stride == 3
    start = plain.init(jax.random.key(1))
    action = jax.random.uniform(jax.random.key(2), (size, chunk), minval=-1.0)
    out, state, total = env.step(start, action), start, 0.0
    for k in range(chunk):
        step = plain.step(state, action[:, k : k + 1])
        state, total = step.state, total + GAMMA**k * step.reward
    np.testing.assert_allclose(out.reward, total, rtol=1e-6)
    assert_trees_close(numbers(out.state), numbers(state))
    assert_trees_close(out.next_observation, step.next_observation)
    np.testing.assert_array_equal(out.duration, 3)
    np.testing.assert_allclose(out.episode_return, state.episode_return, rtol=1e-5)
    np.testing.assert_array_equal(out.episode_length, 3)


def test_an_episode_that_terminates_inside_a_chunk():
    """Episodes of 1, 2 and 5 steps in chunks of 3, whose actions earn 1, 0.75 and 0."""
    env = ChunkedBatch(Terminating(life=5), 3, 3, GAMMA)
    start = env.init(jax.random.key(0))
    left = jnp.array([1, 2, 5])
    task = start.task._replace(left=left, target=jnp.zeros(3))
    start = start._replace(task=task, observation=env.task.observe(task))
    out = env.step(start, chunk_of(0.0, 0.5, 1.0, batch=3))
    np.testing.assert_allclose(out.reward, [1, 1 + 0.75 / 2, 1 + 0.75 / 2 + 0])
    np.testing.assert_array_equal(out.duration, [1, 2, 3])
    np.testing.assert_array_equal(out.terminated, [True, True, False])
    np.testing.assert_array_equal(out.episode_length, [1, 2, 3])
    np.testing.assert_allclose(out.episode_return, [1, 1.75, 1.75])
    np.testing.assert_allclose(out.next_observation[:, 0], [0, 0, 2 / 5])
    np.testing.assert_array_equal(out.state.elapsed, [0, 0, 3])
    np.testing.assert_array_equal(out.state.episode_return[:2], 0)
    assert_trees_close(out.state.observation, env.task.observe(out.state.task))


def test_an_episode_that_the_clock_ends_inside_a_chunk():
    """Episodes of 5 steps in chunks of 3: the second chunk has 2 steps, and its next observation is
    from before the reset."""
    env = ChunkedBatch(Truncating(episode_length=5), 4, 3, GAMMA)
    start = env.init(jax.random.key(3))
    target = np.asarray(start.observation)
    quiet = chunk_of(0.0, 0.0, 0.0, batch=4)
    first = env.step(start, quiet)
    second = env.step(first.state, quiet)
    earned = 1 - target[:, 0] ** 2
    np.testing.assert_array_equal(first.truncated, False)
    np.testing.assert_allclose(first.reward, earned * 1.75, rtol=1e-6)
    np.testing.assert_array_equal(second.truncated, True)
    np.testing.assert_array_equal(second.duration, 2)
    np.testing.assert_allclose(second.reward, earned * 1.5, rtol=1e-6)
    np.testing.assert_allclose(second.episode_return, earned * 5, rtol=1e-6)
    np.testing.assert_array_equal(second.next_observation, target)
    assert np.all(second.state.observation != target) and not second.state.elapsed.any()


def test_the_gradient_runs_through_all_steps_and_ends_with_the_episode():
    """LQR against the open loop, and with a time limit that ends one episode after its first
    step."""
    env = ChunkedBatch(LQR(), 4, 3, 1.0)
    start = env.init(jax.random.key(4))
    action = jax.random.uniform(jax.random.key(5), (4, 3), minval=-0.9, maxval=0.9)

    @jax.jit
    def gradient(state):
        return jax.grad(lambda a: env.step(state, a).reward.sum())(action)

    expected = jax.jit(
        jax.grad(lambda a: open_loop(env.task, start.task, a.T[..., None])[1].sum())
    )(action)
    np.testing.assert_allclose(gradient(start), expected, rtol=1e-5)
    ending = start._replace(elapsed=start.elapsed.at[0].set(env.spec.episode_length - 1))
    cut = gradient(ending)
    np.testing.assert_array_equal(cut[1:], gradient(start)[1:])
    assert cut[0, 0] != 0 and not cut[0, 1:].any() and expected[0, 1] != 0


def test_receding_horizon_carries_out_the_first_actions():
    env, whole = ChunkedBatch(LQR(), 4, 3, GAMMA, executed=2), ChunkedBatch(LQR(), 4, 2, GAMMA)
    start = env.init(jax.random.key(6))
    action = jax.random.uniform(jax.random.key(7), (4, 3), minval=-0.9, maxval=0.9)
    assert env.spec.action_size == 3 and env.stride == 2
    assert_trees_close(numbers(env.step(start, action)), numbers(whole.step(start, action[:, :2])))


class Breaking(LQR):
    """Not a number from an action of 0.75 on."""

    def step(self, state, action):
        out = super().step(state, action)
        broken = jnp.where(action >= 0.75, jnp.nan, 1.0)
        return Step(out.state * broken, out.observation * broken, out.reward, out.terminated)


def test_a_break_inside_a_chunk_is_contained():
    """It ends that environment's episode, and nothing is lost of the others or their gradient."""
    env, plain = (ChunkedBatch(task, 2, 3, GAMMA) for task in (Breaking(), LQR()))
    start = env.init(jax.random.key(8))
    action = jnp.array([[0.1, 0.8, 0.2], [0.1, 0.2, 0.3]])

    def earned(env, action):
        return env.step(start, action).reward.sum()

    (out, gradient), (whole, intact) = (
        jax.jit(lambda a, e=e: (e.step(start, a), jax.grad(earned, argnums=1)(e, a)))(action)
        for e in (env, plain)
    )
    np.testing.assert_array_equal(out.nonfinite, [True, False])
    np.testing.assert_array_equal(out.terminated, [True, False])
    np.testing.assert_array_equal(out.duration, [2, 3])
    assert np.isfinite(out.state.observation).all()
    np.testing.assert_array_equal(out.reward[1], whole.reward[1])
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient[1], intact[1], rtol=1e-6)


class Kinked(LQR):
    """The derivative in the action is not a number anywhere; the value is LQR's. Ends at 0.75."""

    def step(self, state, action):
        out = super().step(state, action)
        depth = jnp.sqrt(jnp.sum((0 * action) ** 2, -1))
        ended = action[:, 0] >= 0.75
        return Step(out.state, out.observation, out.reward - depth, ended)


def test_dropped_gradients_are_counted_once_a_control_step_that_counts():
    """Environment 0 loses those of the two steps that it takes; it waits in the third."""
    env = ChunkedBatch(Kinked(), 2, 3, GAMMA)
    start = env.init(jax.random.key(8))
    action = jnp.array([[0.1, 0.8, 0.2], [0.1, 0.2, 0.3]])

    @jax.jit
    @partial(jax.grad, has_aux=True)
    def counted(probe):
        out = env.step(start, action, probe)
        return out.reward.sum(), out.duration

    count, duration = counted(env.probe(start))
    np.testing.assert_array_equal(duration, [2, 3])
    np.testing.assert_array_equal(count.environments, [2, 3])
    np.testing.assert_array_equal(count.arrays["action"], [2, 3])


@pytest.mark.parametrize(("chunk", "executed"), [(0, None), (2, 3), (2, 0)])
def test_bad_sizes_are_refused(chunk, executed):
    with pytest.raises(ValueError, match="chunk"):
        ChunkedBatch(LQR(), 2, chunk, GAMMA, executed)


def test_a_chunk_must_divide_the_horizon():
    algorithm = RFO(horizon=8, critic=Critic(batches=2))
    with pytest.raises(ValueError, match="3 control steps must divide horizon"):
        algorithm.init(jax.random.key(0), ChunkedBatch(LQR(), 2, 3, GAMMA))
    with pytest.raises(ValueError, match="must divide the 1 steps"):
        algorithm.init(jax.random.key(0), ChunkedBatch(LQR(), 2, 8, GAMMA))
