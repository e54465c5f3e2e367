"""A parent's duties to its children and its terminal: groups, guardian, interrupts, standard streams."""
