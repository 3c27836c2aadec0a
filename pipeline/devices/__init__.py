"""A trained head on any PennyLane device: noise, shots, processors."""
