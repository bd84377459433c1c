"""The gradient checker against a system whose gradient is known, and against wrong gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.physics import gradcheck

T, B, A = 8, 16, 2
DT = 0.1


def accelerate(position, velocity, control):
    velocity = velocity + DT * control
    return position + DT * velocity, velocity


def rollout_of(step):
    """Rewards of B point masses that are pushed by controls (T, B, A).

    A reward is minus the squared distance to (1, ..).
    """

    def rollout(controls):
        start = jnp.linspace(-1.0, 1.0, B)[:, None] * jnp.ones(A)

        def one(carry, control):
            carry = step(*carry, control)
            return carry, -jnp.sum((carry[0] - 1.0) ** 2, axis=-1)

        return jax.lax.scan(one, (start, jnp.zeros((B, A))), controls)[1]

    return rollout


def known_gradient(controls):
    """Gradient of the rewards in closed form.

    x_t = x_0 + dt^2 sum_{s <= t} (t - s + 1) a_s, so dR/da_s = sum_t -2 (x_t - 1) dt^2 (t - s + 1).
    """
    controls = np.asarray(controls, np.float64)
    lag = np.arange(T)[:, None] - np.arange(T) + 1
    weight = DT**2 * np.where(lag > 0, lag, 0)
    start = np.linspace(-1.0, 1.0, B)[:, None] * np.ones(A)
    position = start + np.einsum("ts,sba->tba", weight, controls)
    return np.einsum("ts,tba->sba", weight, -2.0 * (position - 1.0))


def scaled_adjoint(factor):
    """The same step with an adjoint that is off by a factor in every control."""

    @jax.custom_vjp
    def step(position, velocity, control):
        return accelerate(position, velocity, control)

    def forward(*args):
        return step(*args), None

    def backward(_, cotangent):
        position, velocity = cotangent
        velocity = velocity + DT * position
        return position, velocity, factor * DT * velocity

    step.defvjp(forward, backward)
    return step


@pytest.fixture(scope="module")
def controls():
    return jax.random.uniform(jax.random.key(0), (T, B, A), minval=-0.8, maxval=0.8)


def test_right_gradient_passes_with_the_norms_known_by_hand(controls):
    report = gradcheck.check(rollout_of(accelerate), controls, jax.random.key(1))
    by_hand = known_gradient(controls)
    assert report.ok and report.conclusive
    assert report.worst_error < 1e-3
    np.testing.assert_allclose(report.norm, np.sqrt((by_hand**2).sum(axis=(0, 2))), rtol=1e-5)
    np.testing.assert_allclose(report.norm_by_step, np.sqrt((by_hand**2).sum(axis=2)), rtol=1e-4)
    along_gradient = report.directions[0]
    np.testing.assert_allclose(along_gradient.numeric[0], report.norm, rtol=1e-3)
    assert all(direction.within == 1.0 for direction in report.directions)


def test_exact_adjoint_written_by_hand_passes(controls):
    assert gradcheck.check(rollout_of(scaled_adjoint(1.0)), controls, jax.random.key(1)).ok


@pytest.mark.parametrize("factor", [0.97, 1.03, 0.01, -1.0])
def test_wrong_adjoint_is_flagged_with_its_error(controls, factor):
    report = gradcheck.check(rollout_of(scaled_adjoint(factor)), controls, jax.random.key(1))
    assert not report.ok
    assert report.worst_error == pytest.approx(abs(factor - 1.0), rel=0.1)


def test_vanished_gradient_is_flagged(controls):
    def rollout(x):
        return rollout_of(accelerate)(jax.lax.stop_gradient(x) + 0 * x)

    report = gradcheck.check(rollout, controls, jax.random.key(1))
    assert report.alive == 0.0 and not report.ok
    assert report.worst_error > 0.5


def test_nan_in_one_environment_is_flagged(controls):
    def rollout(x):
        poisoned = jnp.sqrt(x[:, :1] - x[:, :1])  # value 0, derivative NaN, in environment 0 only
        return rollout_of(accelerate)(x.at[:, :1].add(poisoned))

    report = gradcheck.check(rollout, controls, jax.random.key(1))
    assert not report.finite and not report.ok
    assert report.worst_error == np.inf


def test_environments_with_a_kink_do_not_spoil_the_others(controls):
    """In a quarter of the environments the reward jumps wildly: those are left out, and counted."""
    rough = jnp.arange(B) < B // 4

    def rollout(x):
        noise = jnp.where(rough, jnp.sin(1e7 * x.sum(axis=-1)), 0.0)
        return rollout_of(accelerate)(x) + jax.lax.stop_gradient(noise)

    report = gradcheck.check(rollout, controls, jax.random.key(1))
    assert report.ok
    for direction in report.directions:
        assert not direction.converged[: B // 4].all()
        assert direction.converged[B // 4 :].all()


def test_slope_of_a_coarse_scale_is_not_taken_for_the_gradient(controls):
    """Ripples of length 1e-2: their mean slope shows at 0.1 and 0.03, the true one below 1e-3."""

    def rollout(x):
        total = x.sum(axis=-1)
        return total + 1e-3 * jnp.sin(1e3 * total)

    report = gradcheck.check(rollout, controls[:1], jax.random.key(1))
    assert report.ok and report.conclusive and report.worst_error < 1e-2


def test_rough_return_is_inconclusive_not_right(controls):
    def rollout(x):
        return jax.lax.stop_gradient(jnp.sin(1e7 * x.sum(axis=-1))) + 1e-3 * x.sum(axis=-1)

    report = gradcheck.check(rollout, controls, jax.random.key(1))
    assert not report.conclusive


def test_return_that_depends_on_nothing_is_right_and_dead(controls):
    report = gradcheck.check(lambda x: 0.0 * x.sum(axis=-1), controls, jax.random.key(1))
    assert report.ok and report.alive == 0.0


def test_too_few_step_sizes_are_refused(controls):
    with pytest.raises(ValueError, match="3 step sizes"):
        gradcheck.check(rollout_of(accelerate), controls, jax.random.key(0), step_sizes=(1e-2,))
