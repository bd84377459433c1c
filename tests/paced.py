"""A command line whose trainings last long enough for a test to do something meanwhile."""

PACED = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from rfo.training import trainer
step = trainer._Loop.record
trainer._Loop.record = lambda *a, **k: (time.sleep(0.15), step(*a, **k))[1]
from rfo.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""Its updates take 150 ms. A hangup ends it, also where the tests run under nohup."""
