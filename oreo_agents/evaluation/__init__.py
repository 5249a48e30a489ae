"""How good an agent is: results, intervals, paired comparisons, and what its critic believed."""
