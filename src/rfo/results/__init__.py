"""Statistics and figures of finished runs, read from their folders."""
