"""The flow's integrators and their order, its gradients, and its values by plain NumPy."""

import itertools
from functools import partial

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from test_nets import plain_mlp, scrambled

from rfo.policies.encoder import Identity
from rfo.policies.flow import SOLVERS, FlowPolicy, integrate, time_features

ORDER = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}
DIFFRAX = {"euler": diffrax.Euler(), "midpoint": diffrax.Midpoint(), "heun": diffrax.Heun()}


@pytest.mark.parametrize("solver", SOLVERS)
def test_order_on_a_linear_field_with_known_solution(solver):
    """dz/du = M z + b u has the solution of one matrix exponential, with (u, 1) appended to z."""
    matrix, b = np.array([[-0.5, 2.0], [-2.0, 0.3]]), np.array([1.0, -0.7])
    augmented = np.zeros((4, 4))
    augmented[:2, :2], augmented[:2, 2], augmented[2, 3] = matrix, b, 1.0
    exact = (scipy.linalg.expm(augmented) @ np.array([1.0, 0.5, 0.0, 1.0]))[:2]
    with jax.enable_x64(True):
        steps = [8, 16, 32, 64]
        errors = [
            np.abs(
                integrate(lambda z, u: matrix @ z + b * u, jnp.array([1.0, 0.5]), n, solver) - exact
            ).max()
            for n in steps
        ]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert -slope == pytest.approx(ORDER[solver], abs=0.15)


def random_flow(solver="euler", steps=3):
    """A flow with random biases and offsets, in float64."""
    with jax.enable_x64(True):
        settings = {"steps": steps, "solver": solver, "source_noise": 0.7, "frequencies": 2}
        made = jax.jit(lambda key: FlowPolicy(key, Identity(5), 3, (16, 8), **settings))
        return scrambled(made(jax.random.key(0)), jax.random.key(1))


@pytest.fixture(scope="module")
def policy():
    return random_flow()


@pytest.mark.parametrize("solver", DIFFRAX)
def test_same_steps_as_diffrax(policy, solver):
    with jax.enable_x64(True):
        context = policy.context(jax.random.normal(jax.random.key(2), (5,)))
        z0 = jax.random.normal(jax.random.key(3), (3,))
        term = diffrax.ODETerm(lambda u, z, _: policy.velocity(context, z, u))
        steps = 5
        oracle = diffrax.diffeqsolve(term, DIFFRAX[solver], 0.0, 1.0, 1.0 / steps, z0).ys[-1]
        ours = integrate(lambda z, u: policy.velocity(context, z, u), z0, steps, solver)
        np.testing.assert_allclose(ours, oracle, rtol=1e-10)


def test_state_part_computed_once_equals_plain_concatenation(policy):
    with jax.enable_x64(True):
        observation = jax.random.normal(jax.random.key(2), (4, 5))
        noise = jax.random.normal(jax.random.key(3), (4, 3))
        z = 0.7 * np.asarray(noise)
        for step in range(3):
            u = np.full(4, step / 3)
            time = np.stack([u] + [f(np.pi * n * u) for n in (1, 2) for f in (np.sin, np.cos)], -1)
            z = z + plain_mlp(policy.net, np.concatenate([observation, z, time], -1)) / 3
        action, latent = policy(observation, noise)
        np.testing.assert_allclose(latent, z, rtol=1e-10)
        np.testing.assert_allclose(action, np.tanh(z), rtol=1e-10)


@pytest.mark.parametrize("solver", ["euler", "rk4"])
def test_gradients_to_weights_noise_and_state_match_finite_differences(solver):
    with jax.enable_x64(True):
        inputs = (
            random_flow(solver),
            jax.random.normal(jax.random.key(2), (4, 5)),
            jax.random.normal(jax.random.key(3), (4, 3)),
        )

        @jax.jit
        def loss(inputs):
            policy, observation, noise = inputs
            return jnp.sum(policy(observation, noise)[0] ** 3)

        gradient, eps = jax.jit(jax.grad(loss))(inputs), 1e-5
        for part in range(
            3
        ):  # one of weights, state and noise at a time: no part may hide behind another
            direction = scrambled(jax.tree.map(jnp.zeros_like, inputs), jax.random.key(part))
            direction = tuple(
                d if i == part else jax.tree.map(jnp.zeros_like, d) for i, d in enumerate(direction)
            )
            ahead = loss(jax.tree.map(lambda a, d: a + eps * d, inputs, direction))
            behind = loss(jax.tree.map(lambda a, d: a - eps * d, inputs, direction))
            products = jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction)
            np.testing.assert_allclose(
                sum(jax.tree.leaves(products)), (ahead - behind) / (2 * eps), rtol=1e-6
            )


@pytest.mark.parametrize("solver", ["euler", pytest.param("rk4", marks=pytest.mark.long)])
def test_log_determinant_and_its_gradient_are_those_of_the_map(solver):
    """Hutchinson's estimate is exact in the mean over all signs; the series converges."""
    with jax.enable_x64(True):
        policy = eqx.tree_at(
            lambda p: p.net.weights[-1], random_flow(solver, 2), replace_fn=lambda w: 0.3 * w
        )
        context = policy.context(jax.random.normal(jax.random.key(2), (5,)))
        noise = jax.random.normal(jax.random.key(3), (3,))
        signs = jnp.array(list(itertools.product((-1.0, 1.0), repeat=3)))

        @partial(jax.jit, static_argnums=2)
        def estimate(policy, context, terms):
            each = jax.vmap(lambda probe: policy.latent_and_log_det(context, noise, probe, terms))
            latents, log_dets = each(signs)
            return log_dets.mean(), latents

        @jax.jit
        def exact(policy, context):
            jacobian = jax.jacobian(lambda z: policy.latent(context, z / policy.source_noise))
            return jnp.linalg.slogdet(jacobian(policy.source_noise * noise))[1]

        wanted = exact(policy, context)
        values = np.array([estimate(policy, context, terms)[0] for terms in (2, 4, 8)])
        errors = np.abs(values - wanted)
        assert abs(wanted) > 0.1 and (errors[1:] < 0.5 * errors[:-1]).all()
        assert errors[-1] < 1e-6
        expected = np.broadcast_to(policy.latent(context, noise), (8, 3))
        np.testing.assert_allclose(estimate(policy, context, 2)[1], expected, rtol=1e-12)
        gradient = jax.jit(jax.grad(lambda p, c: estimate(p, c, 8)[0], (0, 1)))(policy, context)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
            gradient,
            jax.jit(jax.grad(exact, (0, 1)))(policy, context),
        )


def test_zero_noise_and_zero_field_mean_zero_action():
    policy = FlowPolicy(jax.random.key(0), Identity(5), 3, (16,), last_scale=1e-12)
    action, _ = policy(jnp.ones((2, 5)), jnp.zeros((2, 3)))
    np.testing.assert_allclose(action, 0, atol=1e-9)


def test_time_is_one_feature_without_frequencies():
    np.testing.assert_allclose(time_features(jnp.asarray(0.25), 0), [0.25])


def test_bad_settings_are_refused_by_name():
    with pytest.raises(ValueError, match=r"solver must be one of .*, not 'verlet'"):
        integrate(lambda z, u: z, jnp.ones(2), 2, "verlet")
    with pytest.raises(ValueError, match="at least one integration step"):
        integrate(lambda z, u: z, jnp.ones(2), 0, "euler")
    with pytest.raises(ValueError, match="at least one hidden layer"):
        FlowPolicy(jax.random.key(0), Identity(5), 3, ())
