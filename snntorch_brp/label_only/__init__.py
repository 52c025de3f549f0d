"""The label-only study: how far rules get that see nothing but the label."""
