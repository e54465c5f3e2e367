"""The HTTP endpoint: server, TLS, authentication, /metrics, the live page and its feed."""
