"""Looking after users: who is connected, who is blocked, what one of them sees, and who asked for it."""
