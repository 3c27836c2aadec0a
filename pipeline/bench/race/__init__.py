"""Rivals in processes of their own, which take turns on the same work."""
