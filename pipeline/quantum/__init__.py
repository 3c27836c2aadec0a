"""Circuits and the simulators that run a batch of samples at once."""
