"""`python -m difffinance` is the command `difffinance`."""

from difffinance.cli import main

main()
