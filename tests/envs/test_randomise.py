"""Domain randomisation: what is drawn, when, and what it does."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compiled import reset
from rfo.cli import settings
from rfo.cli.train import Train
from rfo.envs.batch import Batch
from rfo.envs.randomise import Distribution, Randomised
from rfo.envs.tasks.hopper import Hopper
from rfo.envs.tasks.probe import LQR
from rfo.errors import SettingError
from rfo.experiment.build import build, build_task, nominal
from rfo.experiment.record import Experiment, TaskSettings, preset
from rfo.training import checkpoint

ENVS = 4
MASS, LATE = {"body.mass": "uniform 0.8 1.2"}, {"latency": "integers 0 2"}
ALL = MASS | LATE | {
    "contact.friction": "loguniform 0.5 2",
    "body.com.torso.x": "uniform -0.02 0.02",
    "gravity": "uniform 0.9 1.1",
    "observation.velocities": "normal 0 0.1",
    "push": "uniform 0.1 0.3",
    "push.interval": "uniform 0.01 0.1",
}  # fmt: skip


@cache
def hopper() -> Hopper:
    return Hopper(threads=1)


@cache
def batch() -> Batch:
    return Batch(Randomised(hopper(), ALL), ENVS)


@cache
def stepped():
    return jax.jit(batch().step)


@cache
def simulated():
    """The compiled step of the task itself."""
    return jax.jit(hopper().step)


def start():
    return jax.jit(batch().init)(jax.random.key(0))


ACTION = jnp.full((ENVS, 3), 0.3)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("uniform 0.8 1.2", 0.8, 1.2),
        ("loguniform 0.5 2", 0.5, 2.0),
        ("integers 0 3", 0, 3),
        ("normal 1 0.1", -np.inf, np.inf),
        ("0.7", 0.7, 0.7),
    ],
)
def test_a_distribution_keeps_its_bounds(text, low, high):
    one = Distribution.parse(text)
    drawn = np.asarray(one.draw(jax.random.key(0), (2000,)), float)
    assert one.least == low and one.most == high
    assert (drawn >= low - 1e-6).all() and (drawn <= high + 1e-6).all()
    middle = {"integers": 1.5, "constant": 0.7}.get(one.kind, 1.0)
    assert abs(np.median(drawn) - middle) <= (0.5 if one.kind == "integers" else 0.05)


@pytest.mark.parametrize(
    "text",
    ["uniform", "uniform 2 1", "gauss 0 1", "loguniform 0 1", "normal 0 -1", "integers 0 0.5", ""],
)
def test_what_is_no_distribution_is_refused(text):
    with pytest.raises(SettingError):
        Distribution.parse(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("body.weight", "1"),
        ("body.mass.nobody", "1"),
        ("body.mass", "uniform 1"),
        ("observation.nothing", "1"),
        ("latency", "uniform 0 1"),
        ("push.interval", "uniform 0 1"),
    ],
)
def test_a_name_that_does_not_fit_is_refused(name, text):
    with pytest.raises(SettingError, match=name):
        Randomised(hopper(), {name: text})


def test_a_task_without_a_simulator_has_only_what_needs_none():
    with pytest.raises(SettingError, match="no simulator"):
        Randomised(LQR(), MASS)
    with pytest.raises(SettingError, match="push"):
        Randomised(LQR(), {"push": "1"})
    assert Randomised(LQR(), LATE).spec == LQR().spec


def test_draws_follow_from_the_key():
    one, same, other = (reset(batch().task, seed, ENVS) for seed in (0, 0, 1))
    for x, y, z in zip(*(jax.tree.leaves(s.factors) for s in (one, same, other)), strict=True):
        np.testing.assert_array_equal(x, y)
        assert not np.isclose(x, z).any()
    mass = one.factors["body.mass"]
    assert mass.shape == (ENVS, 6) and len(np.unique(mass)) == mass.size
    parameters = batch().task.parameters(one)
    np.testing.assert_allclose(parameters.mass, hopper().simulator.parameters.mass * mass)


@pytest.mark.parametrize(
    ("task", "name", "arrays"),
    [
        ("soft_jumper_small", "tissue.young", ("mu", "lambda_")),
        ("rolling_flat_small", "material.yield", ("yield_stress",)),
    ],
)
def test_soft_bodies_and_particles_have_names_of_their_own(task, name, arrays):
    built = build_task(TaskSettings(task, {"randomise": {name: "uniform 0.8 1.2"}}), 1)
    state = built.reset(jax.random.key(0), ENVS)
    factor = state.factors[name]
    assert len(np.unique(factor)) == ENVS
    own, drawn = built.simulator.parameters, built.parameters(state)
    for array, before, after in zip(own._fields, own, drawn, strict=True):
        wanted = before * factor if array in arrays else before
        np.testing.assert_array_equal(after, wanted)
    with pytest.raises(
        SettingError, match=rf"body\.mass: unknown; the simulator has .*{name}.*push"
    ):
        build_task(TaskSettings(task, {"randomise": {"body.mass": "1"}}), 1)


def test_an_episode_keeps_its_draws_and_the_next_has_others():
    state = start()
    state = state._replace(elapsed=state.elapsed.at[1].set(hopper().spec.episode_length - 1))
    after = stepped()(state, ACTION).state
    for name, before in state.task.factors.items():
        same = np.all(np.asarray(before == after.task.factors[name]), axis=1)
        np.testing.assert_array_equal(same, [True, False, True, True], err_msg=name)


def test_goes_on_bit_for_bit_from_a_checkpoint(tmp_path):
    state = start()
    for _ in range(2):
        state = stepped()(state, ACTION).state
    checkpoint.save(tmp_path / "state", state, {})
    loaded, _ = checkpoint.load(tmp_path / "state", jax.eval_shape(lambda: state))
    whole, resumed = stepped()(state, ACTION), stepped()(loaded, ACTION)
    for x, y in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


def test_factors_of_one_are_the_task_itself_but_late():
    """Actions come late by the episode's latency; before the first one they are 0."""
    task = Randomised(hopper(), {"body.mass": "1", "latency": "1"})
    late = reset(task, 0, ENVS)
    plain, step = late.task, jax.jit(task.step)
    actions = jax.random.uniform(jax.random.key(1), (3, ENVS, 3), minval=-1.0)
    for given, acting in zip(actions, [0 * actions[0], *actions[:-1]], strict=True):
        out, wanted = step(late, given), simulated()(plain, acting)
        late, plain = out.state, wanted.state
        np.testing.assert_allclose(out.observation, wanted.observation, rtol=1e-4, atol=1e-4)


def test_noise_is_added_to_what_it_names():
    state = start()
    out = stepped()(state, ACTION)
    exact = hopper().observe(out.state.task.task)
    noise = np.asarray(out.state.observation - exact)
    assert not noise[:, :5].any() and (noise[:, 5:] != 0).all() and np.abs(noise).max() < 0.5
    again = batch().task.observe(out.state.task)
    np.testing.assert_allclose(again, out.state.observation, rtol=1e-4, atol=1e-6)


def test_a_push_kicks_the_robot_when_it_is_due():
    task = Randomised(hopper(), {"push": "0.5", "push.interval": "uniform 1 2"})
    state = reset(task, 0, ENVS)
    state = state._replace(until_push=state.until_push.at[0].set(0.0))
    out, plain = jax.jit(task.step)(state, ACTION), simulated()(state.task, ACTION)
    change = np.asarray(out.state.task.qd - plain.state.qd)
    assert abs(abs(change[0, 0]) - 0.5) < 0.2 and not change[1:].any()
    assert float(out.state.until_push[0]) >= 1.0
    np.testing.assert_allclose(out.state.until_push[1:], state.until_push[1:] - hopper().spec.dt)


def test_rewards_have_a_gradient_in_the_factors():
    state = start().task
    low = state.task._replace(q=state.task.q.at[:, 1].add(-0.03))

    @jax.jit
    def result(factors):
        after = batch().task.step(state._replace(task=low, factors=factors), ACTION)
        return after.reward.sum()

    gradient = jax.jit(jax.grad(result))(state.factors)
    for name, size in (("body.mass", 1e-2), ("gravity", 1e-2)):
        moved = partial(lambda name, s: state.factors | {name: state.factors[name] + s}, name)
        difference = float(result(moved(size)) - result(moved(-size))) / (2 * size)
        np.testing.assert_allclose(gradient[name].sum(), difference, rtol=0.05, err_msg=name)


def test_an_experiment_holds_it_and_is_evaluated_without_it():
    given = preset("hopper", threads=1, **{"task.randomise": MASS | {"gravity": 0.9}})
    assert Experiment.from_toml(given.to_toml()) == given
    assert Experiment.from_json(given.to_json()) == given
    assert nominal(given) == preset("hopper", threads=1)
    assert isinstance(build(given)[1].task, Randomised)
    assert type(build(nominal(given))[1].task) is Hopper
    nested = preset("hopper", threads=1, **{"task.randomise": {"body": {"mass": "1"}}})
    assert list(build_task(nested.task, 1).distributions) == ["body.mass"]
    with pytest.raises(SettingError, match=r"body\.weight") as caught:
        build_task(TaskSettings("hopper", {"randomise": {"body.weight": "1"}}))
    assert "\n" not in str(caught.value)


def test_the_command_line_takes_it(tmp_path):
    words = [
        "hopper",
        "--task.randomise",
        "body.mass",
        "uniform 0.8 1.2",
        "latency",
        "integers 0 2",
    ]
    _, experiment = settings.parse(Train, "train", words)
    assert experiment().task.options == {"randomise": MASS | LATE}
    (tmp_path / "c.toml").write_text(experiment().to_toml())
    words = ["--config", str(tmp_path / "c.toml"), "--task.randomise", "gravity", "0.9"]
    _, other = settings.parse(Train, "train", words)
    assert other().task.options == {"randomise": {"gravity": "0.9"}}
