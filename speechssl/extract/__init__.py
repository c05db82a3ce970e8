"""The corpus engine: shards, workers, resume."""
