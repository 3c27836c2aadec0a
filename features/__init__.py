"""Stage 1: run the frozen backbone once over a data set and cache its features to HDF5."""
