"""journal -> stream -> sinks: records, hits, counters, rate limits and target names."""
