"""The laboratory: suites, statistics, tables, figures, reports and measurements of finished runs."""
