"""Episodes: the only loop that plays them, the wrappers that record them, and the check that they happen again."""
