"""From files as their owners distribute them to tensors."""
