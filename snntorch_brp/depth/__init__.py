"""Depth: convolutions that learn from the label alone, measured beside pseudo-BP and beside convolutions at rest."""
