"""Methods: one file each, over shared functions. Two files differ by what two papers differ."""
