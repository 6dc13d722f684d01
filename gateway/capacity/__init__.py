"""Capacity: from measured constants to cores, memory, Redis, nginx and bandwidth, with the formula shown."""
