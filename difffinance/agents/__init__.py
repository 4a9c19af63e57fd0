"""Participants of the market: one file per kind."""
