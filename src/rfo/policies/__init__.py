"""Networks: observation and noise in, action or value out. All leaves of a module are arrays."""
