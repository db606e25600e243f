"""Distillation, the second half of the method: a teacher, a student, losses, and the descent."""
