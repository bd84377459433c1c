"""The figure of final scores, drawn from made-up ones."""

import numpy as np
import pytest

from rfo.lab.finals import draw_finals, ranked

SCORES = {
    "ant": {"rfo": np.array([1.0, 2, 3, 40]), "sapo": np.array([9.0]), "apg": np.array([0.0, 1])},
    "hopper": {"rfo": np.array([5.0, 6]), "apg": np.array([1.0, 2])},
}


def test_rows_are_in_the_order_of_mean_ranks():
    """On the ant sapo (9) beats rfo (2.5, since the outlier does not count); it is missing on the
    hopper.

    So sapo has rank 0, rfo has ranks 1 and 0, and apg has ranks 2 and 1."""
    assert ranked(SCORES) == ["sapo", "rfo", "apg"]


def test_every_seed_is_a_dot_and_the_bar_is_the_middle_half():
    panels = draw_finals(SCORES, ["rfo", "sapo", "apg"]).axes
    assert [panel.get_title() for panel in panels] == ["ant", "hopper"]
    lines = {
        (line.get_marker(), int(line.get_ydata()[0])): line.get_xdata() for line in panels[0].lines
    }
    np.testing.assert_array_equal(lines[".", 1], [1, 2, 3, 40])
    assert lines["|", 1] == [2.5] and lines["|", 0] == [9]
    low, high = lines["None", 1]
    assert 1 <= low < 2.5 < high <= 40


@pytest.mark.parametrize("tasks", [1, 2, 4])
def test_the_title_fits_the_figure(tasks):
    scores = {f"task_{i}": {"rfo": np.arange(5.0), "sapo": np.arange(4.0)} for i in range(tasks)}
    figure = draw_finals(scores, ["rfo", "sapo"], "A suite of some tasks")
    figure.draw_without_rendering()
    title, *_ = figure.findobj(lambda x: getattr(x, "get_text", str)().endswith("95 % interval"))
    box = title.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width


@pytest.mark.parametrize(
    ("scale", "label"), [(1.0, "0.25"), (10_000.0, "2,500"), (1e7, "2,500,000")]
)
def test_returns_are_labelled_to_the_digits_that_tell_them_apart(scale, label, tick_labels):
    values = scale * np.linspace(0.0, 0.8, 5)
    labels = tick_labels(draw_finals({"task": {"rfo": values}}, ["rfo"]).axes[0].xaxis)
    assert label in labels and len(set(labels)) == len(labels)


def test_no_task_is_refused():
    with pytest.raises(ValueError, match="at least one task"):
        draw_finals({}, [])
