"""What a child reads from its environment: the service, the process that must reply, and the policy.

Explicit, because the parent's pid is wrong behind a shell or a wrapper, and because the child asks before it
has read any configuration. The child removes the variables when it reads them: they hold for it alone.
"""

from typing import Final

SERVICE: Final = "EXCGUARD_RENDEZVOUS_SERVICE"
SERVER_PID: Final = "EXCGUARD_RENDEZVOUS_SERVER_PID"
VALIDATION: Final = "EXCGUARD_RENDEZVOUS_VALIDATION"
TIMEOUT: Final = "EXCGUARD_RENDEZVOUS_TIMEOUT"
"""Seconds, 0 for no limit; for debugging, never set by the server."""
GUARD_BEHAVIOR: Final = "EXCGUARD_RENDEZVOUS_GUARD_BEHAVIOR"
"""task_exc_guard flags in decimal for `excguard_client_watch_self` to set."""

CHROMIUM_VALIDATION: Final = "MACH_PORT_RENDEZVOUS_PEER_VALDATION"
"""Chromium's own, with its spelling: 0, 1 or 2."""

DEFAULT_TIMEOUT: Final = 10.0
