"""The pass over the pictures: in this process, or on a Ray cluster."""
