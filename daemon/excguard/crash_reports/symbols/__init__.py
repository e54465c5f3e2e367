"""Names for places in the code, by Apple's atos or the package symbolic."""
