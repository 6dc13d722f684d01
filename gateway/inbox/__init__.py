"""Acknowledged delivery: what a user has to have is kept until one of the user's devices says so."""
