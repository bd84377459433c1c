"""Networks: observation and noise in, action or value out. Equinox modules whose leaves are all arrays."""
