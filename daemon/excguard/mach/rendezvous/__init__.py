"""Port rendezvous: handing Mach port rights to a new child.

Port rights are not inherited as descriptors are. So the parent registers a keyed set of rights under the
child's process id, and the child requests them, once, by a message whose sender the kernel identifies::

    with RendezvousServer("org.example.rendezvous") as server:       # the parent
        port = ReceiveRight.construct()
        environment = {**os.environ, **server.environment}
        with server.launch({KEY: Port.make_send(port)}) as launch:
            launch.register(spawn(host, ["app"], environment=environment))

    client = RendezvousClient.get()                                   # the child
    with client.take_send_right(KEY) as send:
        ...

Why `launch` holds a lock: the pid is known only when the child may already have sent its request. Replies are
sent under the same lock, so the child waits until its ports are registered.

Each port says whether the rights that the child will get are made, copied or moved out of this task; moved
ones belong to the server from registration on, and it releases them wherever they do not reach the child.
`docs/rendezvous.md` describes the messages; `excguard/client/` holds the client for programs in C.
"""

from excguard.mach.rendezvous.client import Outcome, RendezvousClient, RendezvousError
from excguard.mach.rendezvous.events import (
    Claimed,
    Event,
    Inserted,
    NothingToGive,
    Refused,
    Registered,
    Rejected,
    SendFailed,
    Unclaimed,
    Validated,
)
from excguard.mach.rendezvous.insertion import Image, InsertionReport
from excguard.mach.rendezvous.port import Disposition, Port
from excguard.mach.rendezvous.requirement import Requirement, Validation
from excguard.mach.rendezvous.server import Launch, RendezvousServer

__all__ = [
    "Claimed",
    "Disposition",
    "Event",
    "Image",
    "Inserted",
    "InsertionReport",
    "Launch",
    "NothingToGive",
    "Outcome",
    "Port",
    "Refused",
    "Registered",
    "Rejected",
    "RendezvousClient",
    "RendezvousError",
    "RendezvousServer",
    "Requirement",
    "SendFailed",
    "Unclaimed",
    "Validated",
    "Validation",
]
