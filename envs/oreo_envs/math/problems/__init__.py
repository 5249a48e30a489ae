"""Math problems: data sets, problems made on demand, and their worked solutions step by step."""
