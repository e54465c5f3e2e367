"""Which hits fail a run: baseline, ignore rules, verdict, and its forms for build servers."""
