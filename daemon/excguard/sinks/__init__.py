"""Where hits and events end: the log in its forms, OTLP, webhooks, and what registers them."""
