"""`rfo.training.record` by its earlier name, for programs that have it so."""

import rfo
from rfo.experiment.api import train
from rfo.training.record import RunFolder, default_path

__all__ = ["RunFolder", "default_path"]

rfo.train = train  # importing this package has put the package under that name
