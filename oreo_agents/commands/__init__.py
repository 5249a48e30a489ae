"""The argument parsing of single commands."""
