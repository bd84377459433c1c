"""`rfo watch`: open the replays of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rfo.cli.options import OwnTask
from rfo.errors import SettingError

RunPaths = tyro.conf.Positional[
    Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN ...", help_behavior_hint="")]
]
Page = Annotated[
    Path | None,
    tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: in the folder of the runs)"),
]


@dataclass(frozen=True)
class Watch:
    """Open the replay of a run in the browser, or those of several side by side.

    The page is one HTML file that needs no network. If a run has not finished, an episode of its
    newest checkpoint is recorded first; a training that goes on meanwhile is not disturbed.
    """

    run_folders: RunPaths = ()
    """Run folders, or folders of them."""
    task: OwnTask = None
    out: Page = None
    """Page to write."""
    open: bool = True
    """Open the browser; the path is printed in any case."""

    def run(self) -> int:
        """Write the page again and show it."""
        if not self.run_folders:
            raise SettingError("name a run folder, as in `rfo watch runs/...`")
        from rfo.experiment.watch import watch

        page = watch(self.run_folders, self.task, self.out)
        if self.open:
            import webbrowser

            webbrowser.open(page.resolve().as_uri())
        print(page)
        return 0
