"""Trainable heads: features in, logits out."""
