"""Benchmarks: ratios to peers that run beside them."""
