"""Is it better? Pure functions from trials to effects, their uncertainty, and what to run next."""
