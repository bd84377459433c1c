"""The bridge from Warp to JAX: transformations, threads, batches and packs, refusals.

The simulator is the ant standing on the ground, in float32; a pack there is 16 environments.
"""

import gc
import os
import subprocess
import sys
import textwrap
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.host import NUMBERS_PER_THREAD, Plan, available_threads, useful_threads
from rfo.physics.materials import Fluid, respond
from rfo.physics.mesh import from_voxels
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.mpm import MPM, Grid, Tool
from rfo.physics.stream import Stream
from rfo.physics.tetrahedra import Tetrahedra

ODD = 5  # environments: not a multiple of a pack


@cache
def ant(threads: int = 2) -> Articulated:
    text = files("rfo.envs").joinpath("assets/ant.xml").read_text()
    return Articulated(
        load(text, ContactParameters(4e4, 1e3, 1e3, 0.75), 1e3, 1e1), 1 / 60, 4, threads=threads
    )


def states(envs: int, *leading: int) -> ArticulatedState:
    """Ants that touch the ground, all different; the first `envs` of any larger batch are the
    same."""
    q0, qd0 = ant().init(1)
    noise = np.stack(
        [np.random.default_rng(i).uniform(-1, 1, 29) for i in range(envs * int(np.prod(leading)))]
    )
    q = np.asarray(q0) + 0.2 * noise[:, :15]
    q[:, 2] = 0.4 + 0.05 * noise[:, 2]
    qd = np.asarray(qd0) + noise[:, 15:]
    shape = (*leading, envs)
    return ArticulatedState(*(jnp.asarray(x, jnp.float32).reshape(*shape, -1) for x in (q, qd)))


def actions(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).uniform(-0.5, 0.5, (*shape, 8)), jnp.float32)


def height(sim: Articulated, state: ArticulatedState, control: jax.Array) -> jax.Array:
    """A scalar per environment after one control step, sensitive to everything."""
    after = sim.step(state, control)
    return jnp.sin(after.q).sum(-1) + 0.1 * jnp.square(after.qd).sum(-1)


def gradient(sim: Articulated, state: ArticulatedState, control: jax.Array):
    """Gradients with respect to state and control, by environment."""
    return jax.grad(lambda s, u: height(sim, s, u).sum(), argnums=(0, 1))(state, control)


def assert_same(x, y):
    """Bit for bit; NaN equals NaN."""
    jax.tree.map(np.testing.assert_array_equal, x, y)


def env(tree, *index):
    return jax.tree.map(lambda x: x[index], tree)


# ---------------------------------------------------------------------------------- transformations


def test_jit_and_eager_calls_agree():
    state, control = states(ODD), actions(ODD)
    assert_same(jax.jit(ant().step)(state, control), ant().step(state, control))


def test_scan_equals_a_loop_forward_and_backward():
    state, controls = states(ODD), actions(6, ODD)

    def scanned(state, controls):
        return jax.lax.scan(lambda s, u: (ant().step(s, u), height(ant(), s, u)), state, controls)[
            1
        ].sum()

    def looped(state, controls):
        total = 0.0
        for control in controls:
            total, state = total + height(ant(), state, control).sum(), ant().step(state, control)
        return total

    got = jax.jit(jax.value_and_grad(scanned, argnums=(0, 1)))(state, controls)
    expected = jax.jit(jax.value_and_grad(looped, argnums=(0, 1)))(state, controls)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-4), got, expected)


def test_checkpoint_changes_no_gradient():
    state, control = states(ODD), actions(ODD)

    def loss(step):
        return lambda s, u: jnp.square(step(step(s, u), u).q).sum()

    plain, remat = (
        jax.jit(jax.grad(loss(f), argnums=(0, 1)))(state, control)
        for f in (ant().step, jax.checkpoint(ant().step))
    )
    assert_same(plain, remat)


@pytest.mark.parametrize("envs", [1, 3, 16])
def test_vmap_of_the_step_and_of_its_gradient_equal_loops(envs):
    """As for several seeds in one program. One axis is mapped elsewhere than in front."""
    state, control = states(envs, 3), actions(3, envs)
    middle = jnp.moveaxis(control, 0, 1)
    for function in (ant().step, lambda s, u: gradient(ant(), s, u)):
        mapped = jax.jit(jax.vmap(function, in_axes=(0, 1)))(state, middle)
        for i in range(3):
            assert_same(env(mapped, i), function(env(state, i), control[i]))


def test_vmap_over_one_argument_only():
    state, controls = states(ODD), actions(4, ODD)
    mapped = jax.vmap(lambda u: gradient(ant(), state, u))(controls)
    for i in range(4):
        assert_same(env(mapped, i), gradient(ant(), state, controls[i]))


def test_nested_vmap_equals_loops():
    state, control = states(ODD, 2, 3), actions(2, 3, ODD)
    for function in (ant().step, lambda s, u: gradient(ant(), s, u)):
        mapped = jax.vmap(jax.vmap(function))(state, control)
        for i, j in np.ndindex(2, 3):
            assert_same(env(mapped, i, j), function(env(state, i, j), control[i, j]))


def test_jacobian_has_the_vector_products_for_rows():
    """A Jacobian maps cotangents over one shared forward pass; also inside and outside of a
    vmap."""
    envs = 3
    state, control = states(envs, 2), actions(2, envs)

    def heights(u, s):
        return height(ant(), s, u)

    for i in range(2):
        one = jax.jacrev(heights)(control[i], env(state, i))
        rows = jax.vmap(lambda k, i=i: jax.grad(lambda u: heights(u, env(state, i))[k])(control[i]))
        assert_same(one, rows(jnp.arange(envs)))
        assert_same(env(jax.vmap(jax.jacrev(heights))(control, state), i), one)
        whole = jax.jacrev(lambda u: jax.vmap(heights)(u, state))(control)
        assert_same(whole[i][:, i], one)
        assert not np.any(whole[i][:, 1 - i])


def test_a_batched_branch_selects_whole_residuals():
    """vmap turns `cond` into a selection between both branches' residuals."""
    state, control = states(ODD, 3), actions(3, ODD)

    def loss(flag, s, u):
        twice = jax.lax.cond(
            flag, lambda u: ant().step(s, u).q, lambda u: ant().step(s, -2 * u).q, u
        )
        return jnp.sin(twice).sum()

    flags = jnp.array([True, False, True])
    mapped = jax.jit(jax.vmap(jax.grad(loss, argnums=2)))(flags, state, control)
    through = jax.jit(jax.grad(lambda u: jax.vmap(loss)(flags, state, u).sum()))(control)
    for i in range(3):
        assert_same(mapped[i], jax.grad(loss, argnums=2)(flags[i], env(state, i), control[i]))
        assert_same(through[i], mapped[i])


# ----------------------------------------------------------------------- batches, packs and threads


def step_and_gradient(sim: Articulated, envs: int):
    state, control = states(envs), actions(64)[:envs]
    return jax.jit(lambda s, u: (sim.step(s, u), gradient(sim, s, u)))(state, control)


def test_an_environment_does_not_depend_on_the_size_of_its_batch():
    reference = step_and_gradient(ant(), 64)
    for envs in (1, 3, 16, 17):
        assert_same(step_and_gradient(ant(), envs), env(reference, slice(envs)))


def test_results_do_not_depend_on_threads():
    reference = step_and_gradient(ant(1), 50)
    for threads in (2, 3, 4):
        assert_same(step_and_gradient(ant(threads), 50), reference)


def test_more_threads_than_environments():
    assert_same(step_and_gradient(ant(4), 1), step_and_gradient(ant(1), 1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_broken_environment_leaves_its_pack_and_later_ones_alone(bad):
    """One thread works through three packs, two of them full, in one workspace, and through the
    next call."""
    state, control = states(35), actions(35)
    broken = state._replace(qd=state.qd.at[4].set(bad), q=state.q.at[4, :7].set(bad))
    function = jax.jit(lambda s: (ant(1).step(s, control), gradient(ant(1), s, control)))
    healthy = np.arange(35) != 4
    expected = function(state)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(expected))
    got = function(broken)
    assert_same(env(got, healthy), env(expected, healthy))
    assert not np.all(np.isfinite(got[0].q[4]))
    assert_same(function(state), expected)


def test_a_broken_cotangent_leaves_its_pack_alone():
    state, control = states(17), actions(17)
    _, pullback = jax.vjp(ant().step, state, control)
    after = jax.tree.map(jnp.ones_like, state)
    healthy = np.arange(17) != 4
    broken = after._replace(q=after.q.at[4].set(jnp.nan))
    assert_same(env(pullback(broken), healthy), env(pullback(after), healthy))


def test_two_programs_call_one_simulator_at_once():
    state, control = states(20), actions(20)

    def forward(s, u):
        return jax.lax.scan(lambda s, _: (ant().step(s, u), None), s, length=10)[0]

    programs = [jax.jit(forward), jax.jit(lambda s, u: gradient(ant(), s, u))]
    expected = [program(state, control) for program in programs]

    def repeat(program):
        return [jax.block_until_ready(program(state, control)) for _ in range(20)]

    with ThreadPoolExecutor(2) as pool:
        for results, reference in zip(pool.map(repeat, programs), expected, strict=True):
            for result in results:
                assert_same(result, reference)


def test_simulators_are_made_in_several_threads_at_once():
    """Warp captures for one thread at a time, and would mix two captures up."""
    state, control = states(3), actions(3)
    expected = ant().step(state, control)

    def make(_):
        fresh = Articulated(ant().model, ant().dt, ant().substeps, threads=1)
        return [jax.jit(fresh.step)(state, control) for _ in range(3)][-1]

    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(make, range(8)):
            assert_same(result, expected)


# ----------------------------------------------------------------------------------------- refusals


def test_forward_mode_and_second_derivatives_are_refused():
    state, control = states(2), actions(2)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda u: ant().step(state, u), (control,), (control,))
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        jax.grad(lambda u: jnp.square(gradient(ant(), state, u)[1]).sum())(control)
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        jax.hessian(lambda u: height(ant(), state, u).sum())(control)


def tissue():
    return Tetrahedra(from_voxels([(0, 0, 0)], 0.1), 0.01, 2, muscle=np.arange(5) % 2)


def dough():
    return MPM(
        Fluid(1e3, 0.3, 1e3), 4, 1e-6, Grid((12, 12, 12), 0.05), 0.01, 2, [Tool("sphere", (0.1,))]
    )


def refused_calls():
    """(call, what is told): every entry point, with arrays that the kernels would misread."""
    state, control, rigid = states(2), actions(2), ant()
    yield r"control must have the shape \(B, 8\)", lambda: rigid.step(state, control[:, :7])
    yield r"control .* B = 2 as in q, not \(1, 8\)", lambda: rigid.step(state, control[:1])
    yield r"q .* not \(15,\)", lambda: rigid.step(env(state, 0), control[0])
    yield r"q .* not \(0, 15\)", lambda: rigid.step(env(state, slice(0)), control[:0])
    yield (
        "control must be float32, not float16",
        lambda: rigid.step(state, control.astype(jnp.float16)),
    )
    for look in (rigid.mass_matrix, rigid.bias):
        yield r"q .* \(B, 15\) .* not \(15,\)", lambda f=look: f(env(state, 0))
        yield r"q .* \(B, 15\) .* not \(2, 14\)", lambda f=look: f(state._replace(q=state.q[:, 1:]))
        yield r"qd .* \(B, 14\) .* not \(1, 14\)", lambda f=look: f(state._replace(qd=state.qd[:1]))
    soft = tissue()
    start, muscles = soft.init(2), jnp.zeros((2, 2))
    yield (
        r"q .* \(B, 8, 3\)",
        lambda: soft.step(start._replace(q=start.q.reshape(2, 3, 8)), muscles),
    )
    yield r"qd .* \(B, 8, 3\)", lambda: soft.step(start._replace(qd=start.qd[:, :7]), muscles)
    yield r"control .* \(B, 2\)", lambda: soft.step(start, muscles[:, :1])
    sim = dough()
    grains = sim.init(jnp.full((2, 4, 3), 0.3))
    path = jnp.zeros((2, 3, 1, 7)).at[..., 3].set(1.0)
    yield r"x .* \(B, 4, 3\)", lambda: sim.init(jnp.zeros((4, 3)))
    yield r"x .* \(B, 4, 3\)", lambda: sim.step(grains._replace(x=grains.x.reshape(2, 3, 4)), path)
    yield (
        r"F .* \(B, 4, 3, 3\)",
        lambda: sim.step(grains._replace(F=grains.F.reshape(2, 4, 9)), path),
    )
    yield r"poses .* \(B, 3, 1, 7\)", lambda: sim.step(grains, path.reshape(2, 1, 3, 7))
    yield r"poses .* \(B, 3, 1, 7\)", lambda: sim.step(grains)
    yield r"F .* \(\*n, 3, 3\)", lambda: respond(Fluid(1e3, 0.3, 1e3), jnp.zeros((2, 3)))


def test_arrays_that_the_kernels_would_misread_are_refused():
    """At every entry point, by name: nothing is read past the end of an array."""
    for told, call in refused_calls():
        with pytest.raises((ValueError, TypeError), match=told):
            call()


# ------------------------------------------------------------------------------------------- memory


def in_a_program(simulator, state, control):
    jax.jit(lambda s: jax.lax.scan(lambda s, u: (simulator.step(s, u), None), s, control[None])[0])(
        state
    )


def its_gradient(simulator, state, control):
    jax.grad(lambda u: height(simulator, state, u).sum())(control)


USES = {
    "at once": lambda simulator, state, control: simulator.step(state, control),
    "in a program": in_a_program,
    "its gradient": its_gradient,
    "its mass matrix": lambda simulator, state, control: simulator.mass_matrix(state),
}


@pytest.mark.parametrize("use", USES)
def test_a_simulator_that_is_dropped_is_gone(use):
    simulator = Articulated(ant().model, 1 / 60, 4)
    USES[use](simulator, states(2), actions(2))
    remains = [weakref.ref(x) for x in (simulator, simulator._bridge, simulator.kernels)]
    del simulator
    gc.collect()
    assert [x() for x in remains] == [None] * 3


MANY = """
import gc, resource
import jax.numpy as jnp
from rfo.physics.articulated import Articulated
from rfo.physics.mjcf import ContactParameters, load

TEXT = '<mujoco><worldbody><body><freejoint/><geom size=".1"/></body></worldbody></mujoco>'
model = load(TEXT, ContactParameters(1, 0, 0, 0))
for number in range(40):
    simulator = Articulated(model, 1 / 60, 64)
    simulator.step(simulator.init(256), jnp.zeros((256, 0)))
    del simulator
    if number in (9, 39):
        gc.collect()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_forty_simulators_take_no_more_memory_than_ten():
    """Each has some 3 MB of plans for its batch: the peak must not grow with their number."""
    pytest.importorskip("resource")
    ran = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    ten, forty = (int(x) for x in ran.stdout.split())
    assert forty < 1.05 * ten


def test_threads_are_the_cores_where_the_system_cannot_tell_which_are_usable(monkeypatch):
    """As on a Mac."""
    monkeypatch.delenv("RFO_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_threads() == 6


def test_threads_come_from_the_environment_and_must_be_positive(monkeypatch):
    monkeypatch.setenv("RFO_THREADS", "3")
    assert available_threads() == 3
    for value in ("0", "-1", "many"):
        monkeypatch.setenv("RFO_THREADS", value)
        with pytest.raises(ValueError, match="RFO_THREADS"):
            available_threads()
    with pytest.raises(ValueError, match="at least one thread"):
        Articulated(ant().model, 0.01, 1, threads=0)


def test_a_thread_needs_its_share_of_work(monkeypatch):
    monkeypatch.setenv("RFO_THREADS", "4")
    kernels = ant().kernels
    worth = -(-NUMBERS_PER_THREAD // kernels.work)  # environments that occupy one thread
    threads = [
        useful_threads(kernels, envs)
        for envs in (1, 2 * worth - 1, 2 * worth, 3 * worth, 100 * worth)
    ]
    assert threads == [1, 1, 2, 3, 4]


# -------------------------------------------------------------------------------------- the process


def python(script: str, may_complain: bool = False) -> None:
    """Run a script in a fresh interpreter that knows this module; it has to end well and say
    nothing."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert may_complain or not result.stderr


def test_one_xla_thread_with_calls_in_flight_does_not_deadlock():
    python(
        """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before XLA counts the cores
        import jax
        from concurrent.futures import ThreadPoolExecutor
        from test_bridge import actions, ant, gradient, states
        state, control = states(2000), actions(2000)
        programs = [jax.jit(ant().step), jax.jit(lambda s, u: gradient(ant(), s, u))]
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(program, state, control) for program in 4 * programs]
            jax.block_until_ready([call.result() for call in calls])
        """
    )


def test_leaving_the_interpreter_right_after_a_dispatch_is_no_crash():
    python(
        """
        import jax
        from test_bridge import actions, ant, states
        state, control = states(2000), actions(2000)
        step = jax.jit(
            lambda s, u: jax.lax.scan(lambda s, _: (ant().step(s, u), None), s, length=20)[0]
        )
        step.lower(state, control).compile()
        step(state, control)
        """,
        may_complain=True,
    )


# --------------------------------------------------------------------------------------------- CUDA


def test_the_stream_of_cuda_gives_the_same_bits_on_the_cpu():
    """Warp's foreign-function interface, which CUDA takes, against the captured graphs of the
    CPU."""
    kernels, state, control = ant().kernels, states(20), actions(20)
    plan, stream = Plan(kernels, 20, threads=2), Stream(kernels, 20, ["cpu"])
    inputs = [np.asarray(x) for x in (*state, control)]
    after = jax.jit(stream.forward)(*inputs)
    assert_same(after, list(plan.forward(*inputs)))
    operands = [*inputs, *(np.sin(x) for x in after)]
    assert_same(jax.jit(stream.adjoint)(*operands), list(plan.adjoint(*operands)))


def test_a_program_for_cuda_calls_nothing_on_the_host():
    """Lowered, not run: there need be no such device."""
    state, control = states(20), actions(20)
    traced = jax.jit(lambda s, u: gradient(ant(), s, u)).trace(state, control)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    calls = [line for line in text.splitlines() if "stablehlo.custom_call" in line]
    assert len(calls) == 2 and not any("callback" in line for line in calls)
