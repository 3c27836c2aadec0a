"""The simulator of a traced circuit: its start, its layers, their execution, and what is measured."""
