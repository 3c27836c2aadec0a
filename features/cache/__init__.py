"""The HDF5 cache: layout, write, verify, read; pieces and shards."""
