"""Files that other programs can write, replace or remove: read, written and described in one way."""
