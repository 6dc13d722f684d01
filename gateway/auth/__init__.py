"""Who a client is: codes, sessions, tokens, credentials."""
