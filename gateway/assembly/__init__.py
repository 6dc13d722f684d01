"""Builds the parts of one process from its settings. Nothing here starts anything."""
