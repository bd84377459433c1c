"""A suite's progress on a terminal; `test_queue.py` reads the plain lines."""

from io import StringIO

from rich.console import Console

from rfo.lab import board
from rfo.lab.board import Board, SuiteProgress


def test_terminal_has_a_bar_for_the_suite_and_one_for_each_running_training(monkeypatch):
    screen = StringIO()
    monkeypatch.setattr(
        board, "Console", lambda **_: Console(file=screen, force_terminal=True, width=160)
    )
    monkeypatch.setattr(board, "BAR_INTERVAL", 0.0)
    with Board("suite [draft]") as shown:
        shown.show(
            lambda: SuiteProgress(
                {"running": 1, "waiting": 1}, 30, 200, {"lqr/a/s0": (30, 100)}, 95.0
            )
        )
        shown.say("lqr/a/s0: finished")
        shown.show(
            lambda: SuiteProgress(
                {"finished": 1, "running": 1}, 150, 200, {"lqr/[b]/s0": (50, 100)}, 30.0
            )
        )
    text = screen.getvalue()
    assert "0/2 finished (1 running, 1 waiting), 15% of the steps, 2 min left" in text
    assert "suite [draft]" in text and "30/100 steps" in text
    assert "lqr/a/s0: finished" in text
    last = text.rpartition("lqr/a/s0: finished")[2]
    assert "1/2 finished (1 running), 75% of the steps, 0 min left" in last
    assert "lqr/[b]/s0" in last.rpartition("75% of the steps")[2]
