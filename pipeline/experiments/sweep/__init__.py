"""Search for good hyperparameters of the quantum head."""
