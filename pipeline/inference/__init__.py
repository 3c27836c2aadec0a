"""Stage 3: a trained head back on its backbone."""
