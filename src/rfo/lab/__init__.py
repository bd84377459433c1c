"""The laboratory: it trains suites of experiments, reports on finished runs, and measures speed.

- Suites: `suite` reads them, `queue` trains them on the machine's `cores` within the memory that
  each `needs`, `slurm` on a `cluster`; `board` shows their progress.
- Sweeps: `search` reads what is searched, `sweep` tries it, `sweep_report` and `sweep_figures` show
  what was found.
- Reports: `results` reads runs, `comparison` and `comparison_tables` compare them with the help of
  `statistics`, `curves` and `finals` draw them next to what is `published`, and `report` writes it
  all.
- Speed: `speed` measures tasks and a peer.
"""
