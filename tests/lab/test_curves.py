"""Bands are checked against hand arithmetic and known coverage, figures by their contents."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rfo.lab.curves import LINES, ReferenceLine, band, draw, save, styles
from rfo.lab.results import Curve, RunResult


def run(steps, returns, seed=0, label="rfo", task="ant"):
    steps = np.asarray(steps, float)
    return RunResult(
        task, label, "rfo", seed, Curve(steps, 2 * steps, np.asarray(returns, float)), {}
    )


def test_band_of_three_seeds_by_hand():
    curve = band(
        [run([0, 10], [value, value], seed) for seed, value in enumerate((1, 2, 6))], points=3
    )
    np.testing.assert_array_equal(curve.x, [0, 5, 10])
    np.testing.assert_allclose(curve.mean, 3)
    half = (
        4.302653 * np.sqrt(7) / np.sqrt(3)
    )  # t(0.975, 2 degrees of freedom), s^2 = (4 + 1 + 9) / 2
    np.testing.assert_allclose(curve.high - curve.mean, half, rtol=1e-6)
    np.testing.assert_allclose(curve.mean - curve.low, half, rtol=1e-6)


def test_band_covers_the_true_mean_in_95_of_100_cases(rng):
    hits = 0
    for _ in range(1000):
        seeds = [
            run([0, 1], [value, value], seed) for seed, value in enumerate(rng.normal(7, 3, size=5))
        ]
        curve = band(seeds, points=1)
        hits += curve.low[0] <= 7 <= curve.high[0]
    assert 930 <= hits <= 970


def test_band_interpolates_over_the_range_that_all_seeds_cover():
    first = run([0, 10, 20], [np.nan, 1, 2])
    second = run([5, 15], [0, 1], seed=1)
    curve = band([first, second], points=6)
    np.testing.assert_allclose(curve.x, np.arange(10, 16))
    np.testing.assert_allclose(curve.mean, [0.75, 0.85, 0.95, 1.05, 1.15, 1.25])
    np.testing.assert_allclose(band([first, second], "seconds", points=6).x, 2 * np.arange(10, 16))


def test_single_seed_has_no_interval():
    curve = band([run([0, 1], [3, 3])])
    assert np.isnan(curve.low).all() and np.isnan(curve.high).all()


def test_curve_without_an_episode_is_refused():
    with pytest.raises(ValueError, match="rfo, seed 4: no episode finished"):
        band([run([0, 1], [np.nan, np.nan], seed=4)])


def test_tasks_are_not_mixed():
    with pytest.raises(ValueError, match="not ant, hopper"):
        draw([run([0, 1], [1, 1]), run([0, 1], [1, 1], task="hopper")])


def test_unfinished_run_keeps_its_last_return_to_the_end():
    """A run that ends early must not make its method look better, which leaving it out would do."""
    short = replace(run([0, 5], [0, 2], seed=1), status="diverged")
    curve = band([run([0, 10], [0, 10]), short], points=3)
    np.testing.assert_array_equal(curve.x, [0, 5, 10])
    np.testing.assert_allclose(curve.mean, [0, (5 + 2) / 2, (10 + 2) / 2])
    np.testing.assert_array_equal(band([short], points=2).x, [0, 5])


def test_figure_shows_each_label_in_each_panel_and_the_published_number():
    runs = [
        run([0, 1], [i, i + 1], seed, label) for i, label in enumerate("ab") for seed in range(2)
    ]
    figure = draw(runs, ("env_steps", "seconds"), [ReferenceLine(7.5, "somebody's")], title="Ant")
    assert len(figure.axes) == 2
    for panel in figure.axes:
        lines = {line.get_label(): line for line in panel.get_lines()}
        np.testing.assert_allclose(lines["b"].get_ydata()[[0, -1]], [1, 2])
        assert list(lines["somebody's"].get_ydata()) == [7.5, 7.5]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["b", "a", "somebody's"], (
        "as they lie at the end"
    )
    assert figure.get_suptitle() == "Ant: mean of 2 seeds and its 95 % interval"
    uneven = draw([*runs, run([0, 1], [5, 5], label="c")]).legends[0].get_texts()
    assert [text.get_text() for text in uneven] == ["c (1 seed)", "b (2 seeds)", "a (2 seeds)"]


def test_the_legend_names_labels_that_matplotlib_would_hide():
    figure = draw([run([0, 1], [1, 1], label="_mine"), run([0, 1], [0, 0], label="rfo")])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["_mine", "rfo"]


def test_view_is_that_of_the_returns_though_intervals_of_two_seeds_reach_far():
    figure = draw(
        [run([0, 1], [value, value], seed) for seed, value in enumerate((0, 10))],
        published=[ReferenceLine(20, "")],
    )
    assert figure.axes[0].get_ylim() == (-1, 21)


def test_methods_look_the_same_in_every_figure():
    few, many = styles(["sapo", "mine"]), styles(["rfo", "other", "sapo", "mine"])
    assert few["sapo"] == many["sapo"] == LINES[2]
    assert len(set(many.values())) == 4


@pytest.mark.parametrize(("scale", "label"), [(1.0, "0.2"), (1000.0, "200")])
def test_returns_are_labelled_to_the_digits_that_tell_them_apart(scale, label, tick_labels):
    labels = tick_labels(draw([run([0, 1], [0.0, 0.8 * scale])]).axes[0].yaxis)
    assert label in labels and len(set(labels)) == len(labels)


def test_same_figure_gives_the_same_bytes(tmp_path):
    first, second = (save(draw([run([0, 1], [1, 2])]), tmp_path / name / "curve") for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert np.asarray(Image.open(first).convert("L")).std() > 5
