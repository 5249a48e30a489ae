"""What came of it: tables, plots and a single-file HTML page, all pure functions of results."""
