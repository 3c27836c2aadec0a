"""What a circuit is to the simulators: gates off a trace, their angles as functions of inputs and weights."""
