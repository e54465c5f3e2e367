"""journal -> drain -> sinks: records, hits, counters, rate limits and target names."""
