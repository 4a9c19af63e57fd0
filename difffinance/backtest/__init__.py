"""backtest: walk-forward over real bars with costs and own impact."""
