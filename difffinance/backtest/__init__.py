"""Walk-forward backtests with costs and own impact, and the statistics that judge them."""
