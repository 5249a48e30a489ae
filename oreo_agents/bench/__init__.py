"""The benchmark: a suite in TOML becomes stages, the stages become one result file with intervals."""
