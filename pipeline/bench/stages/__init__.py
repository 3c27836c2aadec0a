"""Whole stages, timed: pictures to features, start to trained head, the network on pictures."""
