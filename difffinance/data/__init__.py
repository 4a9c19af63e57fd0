"""fetch: connectors, and the lake that their tables lie in."""
