"""The laboratory: it trains suites of experiments, reports on finished runs, and measures speed.

- Suites: `suite` reads them, `queue` trains them, `board` shows their progress.
- Reports: `results` reads run folders; `statistics`, `published`, `tables`, `curves` and `finals`
  are the parts that `report` puts together.
- Speed: `speed` measures tasks and a peer.
- Gradients: `gradient_table` prints what `rfo check-grad` found.
"""
