"""New ALFWorld games without end: rooms, what is drawn in them, and the game files that come of it."""
