"""MJCF files as articulated models: `load` reads one, `ContactParameters` says how its geoms
push."""

from rfo.physics.mjcf.parse import ContactParameters, load

__all__ = ["ContactParameters", "load"]
