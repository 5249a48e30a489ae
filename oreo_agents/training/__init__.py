"""Training: the options and the table of methods (both without torch), batches, losses, the trainer."""
