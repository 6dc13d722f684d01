"""Users who come, go to the background and are gone, over all nodes; and the team's code told of it."""
