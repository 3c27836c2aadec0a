"""The simulator ``dense``: a program in torch's own operations."""
