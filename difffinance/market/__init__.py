"""The order book, its rules, costs and impact, and the environment that agents trade in."""
