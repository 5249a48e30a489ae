"""Faces of the experiments: options in, progress and tables out."""
