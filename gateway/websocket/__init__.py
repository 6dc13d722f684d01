"""One socket: bytes to commands, commands to what they do, and an end that the client understands."""
