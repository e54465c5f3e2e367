"""excguard: sees every EXC_GUARD the kernel raises in a watched macOS app, and says what it means."""

__version__ = "0.1.0"
