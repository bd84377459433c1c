"""From run folders to committed results, and from these to the figure of learning curves.

    python bench/learning/plot.py collect runs/ant bench/learning/results/ant
    python bench/learning/plot.py draw bench/learning/results/ant docs/images/ant
    python bench/learning/plot.py table bench/learning/results/ant

`collect` thins the curves of all runs in a folder into curves.csv and evaluations.json; `draw` makes
IMAGE.svg and IMAGE.png of these two files alone, and prints the final evaluations; `table` prints these in
Markdown, with the 95 % interval of the mean over seeds.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from rfo.results.curves import AXES, Published, draw, half_interval, save
from rfo.results.runs import ResultsError, Run, collect, find_runs, read_collection

PUBLISHED = {
    "ant": (
        Published(4535.9, "SAPO, published (SAPO paper, table 2)"),
        Published(3621.0, "SHAC, published (SAPO paper, table 2)"),
    ),
    "soft_jumper": (
        Published(1820.5, "SAPO, published at 6.2M steps (SAPO paper, table 2)"),
        Published(853.0, "SHAC, published at 6.2M steps (SAPO paper, table 2)"),
    ),
}
"""Final evaluation returns, mean of 10 seeds."""


def evaluations(runs: list[Run]) -> str:
    """Table of the final evaluations: mean over seeds and standard deviation between seeds."""
    lines = [f"{'':24}{'seeds':>6}{'stochastic':>22}{'deterministic':>22}"]
    for label in dict.fromkeys(run.label for run in runs):
        mine = [run.evaluation for run in runs if run.label == label and run.evaluation]
        line = f"{label:24}{len(mine):6}"
        for protocol in ("stochastic", "deterministic"):
            means = np.array([evaluation[protocol]["mean"] for evaluation in mine])
            spread = f" ± {means.std(ddof=1):,.0f}" if len(means) > 1 else ""
            line += f"{means.mean():,.0f}{spread}".rjust(22) if len(means) else "-".rjust(22)
        lines.append(line)
    return "\n".join(lines)


def table(runs: list[Run]) -> str:
    """Markdown rows of the final evaluations, best stochastic mean first: mean ± half its 95 % interval, and
    the range over seeds."""
    rows = []
    for label in dict.fromkeys(run.label for run in runs):
        cells, mine = [label], [run.evaluation for run in runs if run.label == label and run.evaluation]
        order = -np.inf
        for protocol in ("stochastic", "deterministic"):
            means = np.array([evaluation[protocol]["mean"] for evaluation in mine])
            if not len(means):
                cells += ["-", "-"]
                continue
            order = means.mean() if protocol == "stochastic" else order
            interval = f" ± {half_interval(means):,.0f}" if len(means) > 1 else ""
            cells += [f"{means.mean():,.0f}{interval}", f"{means.min():,.0f} to {means.max():,.0f}"]
        rows.append((order, cells))
    heading = ["", "stochastic", "seeds", "deterministic", "seeds"]
    ordered = [cells for _, cells in sorted(rows, key=lambda row: -row[0])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heading, ["---"] * 5, *ordered])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    collector = commands.add_parser("collect", help="thin run folders into two small files")
    collector.add_argument("runs", type=Path, help="folder with run folders in it, as RUNS/LABEL/s0")
    collector.add_argument("results", type=Path, help="folder to write curves.csv and evaluations.json to")
    collector.add_argument("--points", type=int, default=100, help="rows kept of each curve (default: 100)")
    drawer = commands.add_parser("draw", help="draw the curves of collected results")
    drawer.add_argument("results", type=Path, help="folder with curves.csv and evaluations.json")
    drawer.add_argument("image", type=Path, help="path of the figure without its ending")
    drawer.add_argument("--labels", nargs="+", help="what to draw, in this order (default: all)")
    drawer.add_argument("--along", nargs="+", choices=AXES, default=["env_steps"], help="axes, a panel each")
    drawer.add_argument("--title", default="", help="of the figure (default: the task)")
    tabulator = commands.add_parser("table", help="print the final evaluations in Markdown")
    tabulator.add_argument("results", type=Path, help="folder with curves.csv and evaluations.json")
    options = parser.parse_args()
    try:
        if options.command == "collect":
            runs = find_runs(options.runs)
            finished = [run for run in runs if run.evaluation]
            if len(finished) < len(runs):
                print(f"left out {len(runs) - len(finished)} runs that are not finished", file=sys.stderr)
            written = collect(finished, options.results, options.points)
        elif options.command == "table":
            print(table(read_collection(options.results)))
            return 0
        else:
            runs = read_collection(options.results)
            if options.labels:
                unknown = set(options.labels) - {run.label for run in runs}
                if unknown:
                    raise ResultsError(f"{options.results} has no {', '.join(sorted(unknown))}")
                runs = [run for label in options.labels for run in runs if run.label == label]
            published = PUBLISHED.get(runs[0].task, ()) if runs else ()
            written = save(draw(runs, options.along, published, options.title), options.image)
            print(evaluations(runs))
    except (ResultsError, ValueError, OSError) as error:
        print(f"plot.py: {error}", file=sys.stderr)
        return 1
    print(*written, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
