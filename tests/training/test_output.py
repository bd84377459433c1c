"""What is printed after the reader has gone ends nothing."""

import errno
import os
import subprocess
import sys

import pytest
from rich.console import Console

from rfo.training.output import Outliving, outliving_output

PRINT = """
import sys
from rich.console import Console
from rfo.training.output import outliving_output

with outliving_output():
    for line in range(4_000):
        print("to the output", line)
        print("to the errors", line, file=sys.stderr)
    Console().print("[b]from rich[/b]")
    Console(stderr=True).print("from rich")
print("later")
open(sys.argv[1], "w").write("done")
"""


def test_a_process_whose_readers_go_away_ends_as_if_nothing_had_happened(tmp_path):
    mark = tmp_path / "mark"
    words = [sys.executable, "-c", PRINT, str(mark)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        process.stderr.close()
        assert process.wait(60) == 0
    assert mark.read_text() == "done"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_were_never_open_are_no_error(closed, tmp_path):
    mark = tmp_path / "mark"
    command = f"exec {sys.executable} -c '{PRINT}' {mark} {closed}"
    subprocess.run(["sh", "-c", command], check=True, capture_output=True, timeout=60)
    assert mark.read_text() == "done"


def test_only_a_reader_that_is_gone_is_forgiven():
    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        Outliving(Full()).write("a")


def test_text_passes_and_the_streams_come_back(capsys):
    before = sys.stdout, sys.stderr
    with outliving_output(), outliving_output():
        print("out")
        print("err", file=sys.stderr)
        Console().print("rich")
        assert sys.stdout.encoding == before[0].encoding
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("out\nrich\n", "err\n")
