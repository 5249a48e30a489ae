"""Puzzles played one move a turn, each with an exact solver and a demonstrator who has a costly habit."""
