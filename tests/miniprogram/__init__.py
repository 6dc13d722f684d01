"""The library of mini-programs: what was built is what the source says, and it lives as phones do."""
