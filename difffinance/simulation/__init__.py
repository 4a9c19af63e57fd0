"""simulate: episodes of a market with its participants, and the days they leave behind."""
