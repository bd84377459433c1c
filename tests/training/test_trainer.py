"""The training loop: repeatable, resumable bit for bit, seeds apart, divergence told."""

import json
import signal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import Blind, Broken, Life, Lives, batch, leaves, small_apg, train

from rfo.algos.rfo import RFO
from rfo.algos.settings import Critic, Flow, Network, Schedule
from rfo.envs.tasks.probe import LQR, ReachCloud, Terminating
from rfo.experiment.build import build
from rfo.experiment.record import preset
from rfo.training import checkpoint, guard, trainer
from rfo.training.record import RunFolder

UPDATES = 6
WALL_CLOCK = ("seconds", "steps_per_second")


def small_rfo():
    return RFO(
        horizon=4,
        schedule=Schedule(updates=UPDATES),
        network=Network(hidden=(8,), point_hidden=(8, 8), point_features=4, vector_features=4),
        critic=Critic(hidden=(8,), iterations=2, batches=2),
        flow=Flow(steps=1),
    )


def lines(folder):
    """Metrics without what the clock decides."""
    content = [
        json.loads(text) for text in (folder.path / "metrics.jsonl").read_text().splitlines()
    ]
    return [
        {name: value for name, value in line.items() if name not in WALL_CLOCK} for line in content
    ]


def stopping_after(update):
    """A way to make run folders in which recording that update sends Ctrl-C."""

    class Stopping(RunFolder):
        def append(self, line):
            super().append(line)
            if line["update"] == update:
                signal.raise_signal(signal.SIGINT)

    return Stopping.create


def assert_equal_states(ours, theirs):
    for a, b in zip(leaves(ours), leaves(theirs), strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()


with_resets = pytest.mark.parametrize(
    "task", [Terminating(), ReachCloud(points=4)], ids=lambda task: task.spec.name
)
"""One with a vector observation, one with a dict."""


@with_resets
def test_stopping_and_resuming_equals_an_uninterrupted_run_bit_for_bit(task, tmp_path):
    """RFO on a task with resets: networks, optimisers, normaliser, past rollout, episodes, keys."""
    algorithm = small_rfo()
    whole, (whole_folder,) = train(tmp_path / "whole", task, algorithm, updates=UPDATES)
    assert not whole.interrupted

    stopped, (folder,) = train(
        tmp_path / "parts", task, algorithm, updates=UPDATES, make=stopping_after(update=2)
    )
    assert stopped.interrupted and 2 <= stopped.update < UPDATES
    shapes = trainer.state_shapes(algorithm, batch(task))
    state, progress = checkpoint.load_latest(folder.checkpoints, shapes, pytest.fail)
    assert progress["update"] == stopped.update
    resumed, _ = train(
        tmp_path / "parts",
        task,
        algorithm,
        updates=UPDATES,
        start=trainer.Start(state, progress),
        make=lambda path, _: RunFolder.open(path),
    )
    assert_equal_states(whole.states[0], resumed.states[0])
    assert lines(whole_folder) == lines(folder)
    final, _ = checkpoint.load(folder.checkpoints / checkpoint.FINAL, shapes)
    assert_equal_states(whole.states[0], final)


class Coin(Lives):
    """Its state has Python's numbers after a reset, and an array's after a step."""

    def reset(self, key, batch):
        total = jnp.where(jax.random.bernoulli(key, shape=(batch,)), 1.0, 20.0)
        return Life(total, total)

    def step(self, state, action):
        done = super().step(state, action)
        return done._replace(state=Life(done.state.left * action[:, 0], state.total))


@pytest.mark.parametrize("seeds", [1, 2])
def test_an_update_compiles_once(seeds):
    """Its second call finds the types that the first one found."""
    algorithm, env = small_apg(), batch(Coin())
    update = trainer.compiled_update(algorithm, env, seeds)
    start = eqx.filter_eval_shape(trainer.initial_state, algorithm, env, range(seeds))
    after, *_ = eqx.filter_eval_shape(update, start)
    assert eqx.filter_eval_shape(algorithm.init, jax.random.key(0), env).env.task.left.weak_type
    assert types(after) == types(start)


def types(state):
    return [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(state)]


def test_rfo_keeps_the_types_of_its_state():
    """A program of one's own may compile its update, without the trainer."""
    algorithm, env = build(preset("lqr", "rfo", environments=4, horizon=4))
    start = eqx.filter_eval_shape(algorithm.init, jax.random.key(0), env)
    after, _ = eqx.filter_eval_shape(algorithm.update, start, env)
    assert types(after) == types(start)


def test_one_seed_repeats_and_two_differ(tmp_path):
    first, (first_folder,) = train(tmp_path / "first", LQR())
    again, (again_folder,) = train(tmp_path / "again", LQR())
    other, _ = train(tmp_path / "other", LQR(), seeds=(1,))
    assert_equal_states(first.states[0], again.states[0])
    assert lines(first_folder) == lines(again_folder)
    assert not np.allclose(leaves(first.states[0])[0], leaves(other.states[0])[0])


def test_seeds_start_together_exactly_as_alone():
    env, algorithm = batch(ReachCloud(points=4)), small_rfo()
    together = trainer.initial_state(algorithm, env, (3, 4))
    for i, seed in enumerate((3, 4)):
        alone = trainer.initial_state(algorithm, env, (seed,))
        assert_equal_states(trainer.single_state(together, i, seeds=2), alone)


def test_seeds_trained_together_equal_each_trained_alone(tmp_path):
    task, algorithm = Terminating(), small_rfo()
    together, folders = train(tmp_path / "together", task, algorithm, seeds=(3, 4), updates=UPDATES)
    for i, seed in enumerate((3, 4)):
        alone, (folder,) = train(
            tmp_path / "alone", task, algorithm, seeds=(seed,), updates=UPDATES
        )
        for a, b in zip(leaves(together.states[i]), leaves(alone.states[0]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
        for a, b in zip(lines(folders[i]), lines(folder), strict=True):
            assert a.keys() == b.keys()
            assert a["episodes"] == b["episodes"]
            known = (
                a["return_mean"] is not None
            )  # the first episodes were cut short and are not recorded
            assert known == (b["return_mean"] is not None)
            assert not known or a["return_mean"] == pytest.approx(b["return_mean"], rel=1e-4)
        assert lines(folder)[-1]["return_mean"] is not None
        assert (folders[i].checkpoints / checkpoint.FINAL).exists()


def test_every_update_has_its_line_with_the_names_that_scripts_rely_on(tmp_path):
    """Episodes of 64 steps, 16 updates, begin at random ages: the first ones are not recorded."""
    _, (folder,) = train(tmp_path, LQR(), updates=33)
    content = [
        json.loads(text) for text in (folder.path / "metrics.jsonl").read_text().splitlines()
    ]
    assert [line["env_steps"] for line in content] == [16 * update for update in range(1, 34)]
    assert all(line["return_mean"] is None for line in content[:15])
    assert all(line["return_mean"] < 0 for line in content[31:])
    seconds = [line["seconds"] for line in content]
    assert seconds == sorted(seconds) and seconds[0] > 0
    assert all(line["nonfinite"] == 0 for line in content)


def test_checkpoints_come_at_their_updates_and_the_last_two_stay(tmp_path):
    _, (folder,) = train(tmp_path, LQR(), updates=8, checkpoint_every=2)
    names = [path.name for path in checkpoint.newest_first(folder.checkpoints)]
    assert names == ["final.ckpt", "update-00000006.ckpt", "update-00000004.ckpt"]


def test_contained_environments_are_counted_and_the_others_learn_on(tmp_path):
    outcome, (folder,) = train(tmp_path, Broken(count=1), updates=4)
    assert outcome.diverged == [None]
    assert [line["nonfinite"] for line in lines(folder)] == [0.25] * 4
    assert all(np.isfinite(line["grad_norm"]) and line["grad_norm"] > 0 for line in lines(folder))


def test_a_run_whose_environments_keep_blowing_up_ends_with_a_dump(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "PATIENCE", 3)
    outcome, (folder,) = train(tmp_path, Broken(count=4), updates=20)
    assert "blew up" in (outcome.diverged[0] or "")
    assert not outcome.interrupted and outcome.update < 20
    report = folder.read_json("diverged/report.json")
    assert report["reason"] == outcome.diverged[0]
    assert [line["update"] for line in report["last_updates"]] == [1, 2, 3]
    shapes = trainer.state_shapes(small_apg(), batch(Broken(4)))
    checkpoint.load(folder.path / "diverged" / "state.ckpt", shapes)
    assert checkpoint.newest_first(folder.checkpoints) == []  # a diverged state is no checkpoint


def test_a_run_that_loses_its_gradients_ends_and_names_where(tmp_path, monkeypatch, capsys):
    """The finding: the reward is right and its derivative is NaN, so that nothing is learnt."""
    monkeypatch.setattr(guard, "PATIENCE", 3)
    outcome, (folder,) = train(tmp_path, Blind(), updates=20)
    assert "not finite in action and state" in (outcome.diverged[0] or "")
    assert [line["dropped_gradients"] for line in lines(folder)] == [1.0] * 3
    assert not any("/" in name for line in lines(folder) for name in line)  # one number a line
    assert "gradients are dropped" in capsys.readouterr().err


def test_a_short_run_that_only_blows_up_diverged_at_its_end(tmp_path):
    """Too few updates for any streak; the run beside it has one such environment in four."""
    outcome, (folder,) = train(tmp_path, Broken(count=4), updates=4)
    assert "most episodes ended because they were not finite" in (outcome.diverged[0] or "")
    assert outcome.update == 4 and not outcome.interrupted
    assert folder.read_json("diverged/report.json")["reason"] == outcome.diverged[0]
    assert checkpoint.newest_first(folder.checkpoints) == []
    healthy, _ = train(tmp_path / "healthy", Broken(count=1), updates=4)
    assert healthy.diverged == [None]


def test_one_seed_that_diverges_does_not_stop_the_other(tmp_path, monkeypatch):
    judge = guard.Guard.judge
    doomed = []

    def judge_first_badly(self, finite, metrics):
        doomed[:] = doomed or [self]
        return judge(self, finite and self is not doomed[0], metrics)

    monkeypatch.setattr(guard.Guard, "judge", judge_first_badly)
    outcome, (bad, good) = train(tmp_path, LQR(), seeds=(0, 1), updates=5)
    assert outcome.diverged[0] and outcome.diverged[1] is None
    assert len(lines(bad)) == 1 and len(lines(good)) == 5
    assert (bad.path / "diverged" / "report.json").exists()
    assert (good.checkpoints / checkpoint.FINAL).exists()
    assert not (bad.checkpoints / checkpoint.FINAL).exists()


def test_a_poisoned_state_ends_the_run_at_once(tmp_path):
    outcome, (folder,) = train(tmp_path / "healthy", LQR(), updates=1)
    poisoned = outcome.states[0]._replace(
        actor=jax.tree.map(lambda x: x * np.nan, outcome.states[0].actor)
    )
    progress = {"update": 1, "seconds": 0.0, "window": []}
    outcome, (folder,) = train(tmp_path, LQR(), updates=9, start=trainer.Start(poisoned, progress))
    assert outcome.diverged == ["the training state is not finite"]
    assert folder.read_json("diverged/report.json")["update"] == 2


def test_return_window_is_the_mean_of_the_last_episodes():
    """Updates of equal episodes, so that the mean of the last 100 is known one by one."""
    rng = np.random.default_rng(0)
    window, episodes = trainer.ReturnWindow(), []
    assert window.mean is None
    for _ in range(60):
        count, value = int(rng.integers(0, 9)), float(rng.normal())
        window.add(count, value if count else float("nan"))
        episodes += [value] * count
        if episodes:
            assert window.mean == pytest.approx(np.mean(episodes[-100:]))
    assert trainer.ReturnWindow(json.loads(json.dumps(window.content))).mean == window.mean
    assert len(window.content) < 60
