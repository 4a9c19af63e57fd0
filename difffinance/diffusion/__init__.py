"""The generative model of strategies: schedule, modules, samplers, projection, checkpoints."""
