"""One fixed-budget training trial: corpus, clock, score, evidence; knows nothing of agents."""
