"""Stage 2: cached features in, a run folder out."""
