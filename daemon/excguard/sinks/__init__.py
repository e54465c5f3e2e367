"""Where hits go: the structured log and the metrics. Nothing here knows Mach."""
