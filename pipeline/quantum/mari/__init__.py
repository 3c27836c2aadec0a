"""Simulators of the paper's circuit alone: one head on packed real states, and many heads in matrix products."""
