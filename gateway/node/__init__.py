"""Hub, broker and presence joined: publications, memberships, other nodes."""
