"""SAC's targets and its buffer, by hand and through a checkpoint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.buffer import Transitions, stored, transitions
from rfo.algos.rollout import rollout
from rfo.algos.sac import SAC, soft_target
from rfo.algos.settings import Ensemble, Network
from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import ReachCloud, Terminating, Truncating
from rfo.policies.gaussian import tanh_gaussian_log_prob
from rfo.training import checkpoint
from rfo.training.trainer import state_shapes


class Acting:
    """A policy of fixed mean and deviation."""

    def parameters(self, observation):
        return jnp.full((len(observation), 2), 0.3), jnp.full((len(observation), 2), -1.0)


def critics(observation, action):
    """Two that disagree: the first is smaller where the action's sum is positive."""
    total = action.sum(-1)
    return jnp.stack([5 - total, 5 + total])


@pytest.mark.usefixtures("annotations_unchecked")
def test_target_is_the_smaller_critic_less_the_likelihood_and_nothing_at_a_termination():
    noise = jnp.array([[0.5, -0.2], [-1.5, -1.0]])
    batch = Transitions(
        jnp.zeros((2, 1)), noise, jnp.array([1.0, 2.0]), jnp.zeros((2, 1)), jnp.array([0.9, 0.0])
    )
    target = soft_target(Acting(), critics, jnp.asarray(0.1), batch, noise)
    action = np.tanh(0.3 + np.exp(-1.0) * np.asarray(noise[0]))
    log_prob = tanh_gaussian_log_prob(jnp.full(2, 0.3), jnp.full(2, -1.0), noise[0])
    soft_value = 5 - abs(action.sum()) - 0.1 * float(log_prob)
    np.testing.assert_allclose(target, [1 + 0.9 * soft_value, 2.0], rtol=1e-5)


def gathered(task, steps, horizon=10, size=40, gamma=0.9):
    """Transitions of the best policy, and the task's state at each of their beginnings."""
    env = Batch(task, size)
    start = env.init(jax.random.key(0))

    def act(observation, _):
        return observation[:, -1:], None  # the target

    _, data = rollout(env, start, act, jnp.zeros(horizon))
    return data, transitions(data, gamma, steps)


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_stored_transitions_give_the_closed_form_value(steps):
    """The best policy has its value, with the right V at the stored next observation.

    `Terminating` shows its steps left: V = (1 - g^n) / (1 - g), with no bootstrap at n = 0.
    `Truncating` draws a new target at every reset, so that a bootstrap from the observation after
    the reset would show.
    """
    gamma = 0.9
    _, made = gathered(Terminating(life=5, discount=gamma), steps)
    left = jnp.rint(5 * made.observation[:, 0])
    left_next = jnp.rint(5 * made.next_observation[:, 0])
    value = made.reward + made.discount * (1 - gamma**left_next) / (1 - gamma)
    np.testing.assert_allclose(value, (1 - gamma**left) / (1 - gamma), rtol=1e-5)
    taken = left - left_next  # as many as asked for, fewer before an end or the rollout's seam
    seam = jnp.repeat(10 - jnp.arange(10), 40)
    np.testing.assert_array_equal(taken, jnp.minimum(jnp.minimum(steps, left), seam))
    np.testing.assert_array_equal(made.discount == 0, left_next == 0)

    data, made = gathered(Truncating(episode_length=4, discount=gamma), steps)
    assert data.truncated.any() and (made.discount > 0).all()
    np.testing.assert_allclose(
        made.reward + made.discount / (1 - gamma), 1 / (1 - gamma), rtol=1e-5
    )
    np.testing.assert_array_equal(made.next_observation, made.observation)  # of the same episode


def test_the_buffer_is_a_ring_of_rollouts():
    empty = jax.tree.map(
        lambda x: jnp.zeros((3, 2, *x)), Transitions((1,), (1,), (), (1,), ()), is_leaf=_shape
    )
    buffer = empty
    for update in range(5):
        new = jax.tree.map(lambda x, u=update: jnp.full(x.shape[1:], u + 1.0), empty)
        buffer = stored(buffer, new, jnp.asarray(update))
    assert jax.tree.map(lambda x: x.reshape(3, -1)[:, 0].tolist(), buffer) == Transitions(
        *[[4, 5, 3]] * 5
    )


def _shape(x):
    return isinstance(x, tuple) and not isinstance(x, Transitions)


TINY = SAC(
    horizon=2,
    capacity=40,
    gradient_steps=2,
    batch_size=8,
    network=Network(hidden=(4,), point_hidden=(4,), point_features=4, vector_features=4),
    critic=Ensemble(hidden=(4,)),
)


def test_buffer_goes_through_a_checkpoint_and_no_draw_sees_its_empty_part(tmp_path):
    """A stop in between changes no bit; NaN in the buffer's empty part does no harm."""
    env = Batch(ReachCloud(points=4), 8)
    update = jax.jit(lambda s: TINY.update(s, env)[0])
    start = jax.jit(lambda k: TINY.init(k, env))(jax.random.key(0))
    assert start.buffer.reward.shape == (2, 16)  # 40 rounded down
    assert start.buffer.observation["cloud"].shape == (2, 16, 4, 3)
    once = update(start)
    checkpoint.save(tmp_path / "a.ckpt", once, {})
    loaded, _ = checkpoint.load(tmp_path / "a.ckpt", state_shapes(TINY, env))
    twice = update(once)
    jax.tree.map(np.testing.assert_array_equal, _data(update(loaded)), _data(twice))
    poisoned = start._replace(
        buffer=jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan), start.buffer)
    )
    after = update(poisoned)
    jax.tree.map(np.testing.assert_array_equal, after.actor.net.weights, once.actor.net.weights)
    assert (
        jnp.isnan(after.buffer.reward[1]).all() and jnp.isfinite(update(after).buffer.reward).all()
    )


def _data(state):
    return state._replace(key=jax.random.key_data(state.key), env=state.env._replace(key=0))
