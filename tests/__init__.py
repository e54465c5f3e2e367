"""The tests; each directory tests the part of the package with its name. What several share is in support."""
