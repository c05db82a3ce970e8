"""Foreign checkpoints to ours and back: dict to dict, one key table per model, nothing executed."""
