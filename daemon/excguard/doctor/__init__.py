"""What this machine, this configuration and a program allow excguard to see, and what stands in the way."""
