"""Prediction: pictures or rows in, a line of output each."""
