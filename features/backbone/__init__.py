"""The frozen network: its weights and fingerprint, its preprocessing, the fastest exact way to run it."""
