"""What `snntorch-brp train` and `evaluate` do: a run folder from its settings."""
