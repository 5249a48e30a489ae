"""Text engines: cached generation for a policy, cached reading of values for a critic."""
