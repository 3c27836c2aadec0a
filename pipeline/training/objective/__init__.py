"""What training minimises, and at which rate."""
