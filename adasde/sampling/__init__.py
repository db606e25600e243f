"""Sampling, the first half of the method: schedules, noise, coefficients, solvers, and the one loop."""
