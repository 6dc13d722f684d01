"""What the gateway costs, beside the floor: a bare server with the same transport and nothing else."""
