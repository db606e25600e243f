"""Published checkpoints: their cards, and how they are fetched, verified and converted."""
