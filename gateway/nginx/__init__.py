"""The front: an nginx site rendered from the gateway's own settings, so that no number is written twice."""
