"""Shared by all rooms: flags, commands, errors, files, provenance."""
