"""Biologically plausible reward propagation (BRP) for snnTorch."""
