"""Methods, one file each, over shared functions: two files differ as their papers differ."""
