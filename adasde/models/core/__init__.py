"""What every model family builds on: cards and weights, the registry, conditions, preconditioning."""
