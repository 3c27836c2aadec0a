"""Training and evaluation on rows that stay on the disk."""
