"""Experts: one that searches as a player must, and the shortest plan for one who knows the whole room."""
