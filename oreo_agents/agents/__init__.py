"""Who plays: scripted players and trained agents, and the ways in which a trained one chooses."""
