"""Rows of features that something else computed: into a cache, and out of one again."""
