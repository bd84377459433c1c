"""What is told while a command works: from the first moment, in 80 columns, and to the letter."""

import io
import sys
import time
import types

import pytest
from rich.console import Console

from rfo.training import screen
from rfo.training.screen import Phase, Rate, Screen, compact, duration, fitted

TITLE = "soft_jumper_small_camera rfo_reuse x 16 seeds [draft]"


def terminal(width=80):
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def test_a_phase_is_told_at_once_and_goes_on_telling(monkeypatch, capsys):
    monkeypatch.setattr(screen, "LINE_INTERVAL", 0.05)
    with Phase("ant: compiling") as phase:
        assert capsys.readouterr().err == "ant: compiling\n"
        time.sleep(0.3)
        assert "ant: compiling: 0 s so far\n" in capsys.readouterr().err
        phase.now("evaluating 3/8")
        assert capsys.readouterr().err.endswith("evaluating 3/8\n")
    time.sleep(0.1)
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().err == ""  # it is over


def test_a_phase_on_a_terminal_shows_its_name_to_the_letter():
    console = terminal()
    with Phase("a [b] c: compiling", console) as phase:
        phase.now("evaluating [1/2]")
        phase._line.refresh()
    text = console.file.getvalue()
    assert "a [b] c: compiling" in text and "evaluating [1/2]" in text and "0:00:00" in text


class Notebook:
    """What `IPython.display.display` puts out, by the line it belongs to."""

    def __init__(self, monkeypatch):
        self.lines = []
        module = types.ModuleType("IPython.display")
        module.display = self.display
        monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
        monkeypatch.setitem(sys.modules, "IPython.display", module)
        monkeypatch.setattr("rich.console._is_jupyter", lambda: True)

    def display(self, content, raw, display_id):
        assert raw and display_id
        states = [content]
        self.lines.append(states)
        return types.SimpleNamespace(update=lambda content, raw: states.append(content))


def test_a_notebook_shows_a_bar_in_one_line_that_is_written_over(monkeypatch, capsys):
    notebook = Notebook(monkeypatch)
    with Screen("a <b> c", 400) as shown:
        for steps in (100, 400):
            shown.show(steps=steps, rate=None, return_mean=1.0, grad_norm=0.5)
    (states,) = notebook.lines
    assert states[0]["text/plain"] == "a <b> c: compiling"
    assert "100/400 steps, return 1, grad 0.5" in states[-2]["text/plain"]
    assert (
        'value="0.2500"' in states[-2]["text/html"] and 'value="1.0000"' in states[-1]["text/html"]
    )
    assert "a &lt;b&gt; c" in states[-1]["text/html"]
    assert capsys.readouterr().err == ""


def test_a_phase_in_a_notebook_stays_with_its_seconds(monkeypatch):
    notebook = Notebook(monkeypatch)
    with Phase("evaluating 1/2") as phase:
        phase.now("evaluating 2/2")
    (states,) = notebook.lines
    assert [state["text/plain"] for state in states] == [
        "evaluating 1/2",
        "evaluating 2/2",
        "evaluating 2/2: 0 s",
    ]


def progress(show, steps=1_234_567, total=4_096_000):
    facts = {"rate": 25_312.0, "return_mean": -12345.6, "grad_norm": 0.1234, "dropped": 0.123}
    with Screen(TITLE, total) as shown:
        show(shown)
        shown.show(steps=steps, dropped_in=("action",), **facts)


def test_lines_on_a_pipe_fit_80_columns_and_name_what_is_dropped(capsys):
    progress(lambda _: None)
    compiling, dropped, line = capsys.readouterr().err.splitlines()
    assert compiling == f"{TITLE}: compiling"
    assert dropped.endswith("not finite in action")
    assert line == (
        "1.23M/4.1M steps, 25.3k/s, return -12.35k, grad 0.123, 12% dropped, 2 min left"
    )
    assert len(line) <= 80


@pytest.mark.parametrize("width", [80, 120])
def test_lines_on_a_terminal_fit_it(width):
    console = terminal(width)

    def onto(shown):
        shown._console = console

    progress(onto)
    drawn = console.file.getvalue().replace("\r", "\n").splitlines()
    assert any("1.23M/4.1M steps" in line for line in drawn)
    assert all(len(line.rstrip()) <= width for line in drawn if "\x1b" not in line)


def test_a_rate_leaves_out_the_time_to_compile(monkeypatch):
    clock = iter([100.0, 101.0, 103.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    rate = Rate()
    assert [rate.add(10), rate.add(10), rate.add(10)] == [None, 10.0, pytest.approx(20 / 3)]


def test_no_rate_without_time(monkeypatch):
    monkeypatch.setattr(time, "perf_counter", lambda: 1.0)
    rate = Rate()
    assert [rate.add(10), rate.add(10)] == [None, None]


def test_at_the_end_no_time_is_left(capsys):
    progress(lambda _: None, steps=4_096_000)
    assert capsys.readouterr().err.splitlines()[-1].endswith("grad 0.123, 12% dropped")


def test_numbers_and_times_in_words():
    assert [compact(x) for x in (0, 999, 999.6, 20_480, 4_096_000, 1.5e12)] == [
        *("0", "999", "1k", "20.5k", "4.1M", "1.5T")
    ]
    assert [duration(x) for x in (3.2, 99, 100, 5960, 12_600)] == [
        *("3 s", "99 s", "2 min", "99 min", "3.5 h")
    ]
    assert fitted("abcdefgh", "12345", 12) == "abcd…: 12345"
    assert fitted("ab", "12345", 12) == "ab: 12345"
    assert fitted("ab", "12345", 4) == "1234"
