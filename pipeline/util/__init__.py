"""Shared by all rooms."""
