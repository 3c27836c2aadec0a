"""Heads to compare the dressed circuit with."""
