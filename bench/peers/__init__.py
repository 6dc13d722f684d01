"""The servers that the gateway is held against: how each is started, talked to and told to publish."""
