"""train: plans to learn from, and the loop that learns them."""
