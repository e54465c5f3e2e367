"""`python3 -m excguard` is `excguard`."""

from excguard.cli import main

if __name__ == "__main__":
    main(prog_name="excguard")
