"""Shared by all rooms: errors for users, hashes, library versions."""
