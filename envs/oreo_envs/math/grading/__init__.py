"""Which answer a solution states, and whether it is right."""
