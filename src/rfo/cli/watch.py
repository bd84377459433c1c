"""`rfo watch`: open the replay of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rfo.cli.options import RunPath
from rfo.errors import SettingError


@dataclass(frozen=True)
class Watch:
    """Open the replay of a run in the browser: one HTML file that needs no network."""

    run_folder: RunPath = ""
    """Run folder."""
    open: bool = True
    """Open the browser; the path is printed in any case."""

    def run(self) -> int:
        """Write the page again and show it."""
        if not self.run_folder:
            raise SettingError("name a run folder, as in `rfo watch runs/...`")
        from rfo.experiment.finish import replay_page

        page = replay_page(Path(self.run_folder))
        if self.open:
            import webbrowser

            webbrowser.open(page.resolve().as_uri())
        print(page)
        return 0
