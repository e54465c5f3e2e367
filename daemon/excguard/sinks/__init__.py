"""Where hits and events end: the log in its forms, and what registers sinks. Nothing here calls Mach."""
