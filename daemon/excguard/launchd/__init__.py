"""excguard as a launchd job: its property list, what launchd and newsyslog require, and launchctl."""
