"""calibrate: the impact law from order-book data, and the cost law that may be charged."""
