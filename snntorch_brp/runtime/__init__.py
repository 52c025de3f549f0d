"""Processes, files, random numbers and interrupts: the floor below all others; nothing here knows a network."""
