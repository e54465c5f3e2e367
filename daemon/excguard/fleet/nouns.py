"""Numbers with their nouns, as people read them."""


def counted(count: int, noun: str) -> str:
    """`2,000 sites`, `1 site`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
