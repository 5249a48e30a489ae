"""Play and replay in the terminal: pure views of a trajectory, and the loops that show them."""
