"""Tasks: a data set, and what is trained on it."""
