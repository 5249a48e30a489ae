"""Experiments: a suite says what is to be found out, a plan makes stages of it, the stages make results."""
