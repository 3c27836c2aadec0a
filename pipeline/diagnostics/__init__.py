"""What a circuit can do, before and after it is trained."""
