"""A circuit as the simulators read it: traced gates, and their angles as functions of inputs and weights."""
