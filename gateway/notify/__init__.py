"""Users who are away: first the socket, and where nobody acknowledges in time, one subscribe message."""
