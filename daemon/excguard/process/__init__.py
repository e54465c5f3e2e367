"""Child processes and the terminal: groups, guardian, interrupts, standard streams."""
