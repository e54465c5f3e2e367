"""Port rendezvous under load: ``python bench/port_rendezvous.py [--sequence N] [--at-once N] [--rate N]``.

Starts a simulated kernel where there is no Mach, and a child in C with the C client. It shows

* children in sequence, and many at once: each must get its port and use it, and the port name space of the
  server must end as it began;
* what a rendezvous adds to a spawn: the same child, which does nothing, asks for its ports, or is started
  without a registration, by turns in one run;
* rendezvous a second: claims by one process that is registered again before each.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import excsim
from excguard.mach import host, ports
from excguard.mach.ports import ReceiveRight
from excguard.mach.rendezvous import Claimed, Event, Port, RendezvousClient, RendezvousServer, Unclaimed
from excguard.mach.spawn import spawn
from tests.support import compiler, rendezvous_child
from tests.support.messages import GOOD, receive

KEY = 7
USES_ITS_PORT = ["acquire", "take", str(KEY), "17", "send", str(GOOD)]


class Bench:
    """A server, a child program and the port that children send to."""

    def __init__(self, child: str, output: str) -> None:
        """Start the server."""
        self.host = host.running()
        self.claims = 0
        self.unclaimed = 0
        self.child = child
        self.output = output
        self.server = RendezvousServer(f"org.excguard.bench.{os.getpid()}", on_event=self._on_event)
        self.environment = {**os.environ, **self.server.environment}
        self.port = ReceiveRight.construct()

    def _on_event(self, event: Event) -> None:
        self.claims += isinstance(event, Claimed)
        self.unclaimed += isinstance(event, Unclaimed)

    def spawn(self, words: list[str]) -> int:
        """Start a child and no more."""
        command = [self.child, "output", self.output, *words]
        return spawn(self.host, command, environment=self.environment)

    def start(self, words: list[str]) -> int:
        """Start a child and register its port."""
        with self.server.launch({KEY: Port.make_send(self.port)}) as launch:
            pid = self.spawn(words)
            launch.register(pid)
        return pid

    def settle(self) -> None:
        """Wait until every end of a child has been noticed."""
        while self.server.known:
            time.sleep(0.001)

    def close(self) -> None:
        """End the server."""
        self.server.close()
        self.port.close()


def reap(pid: int) -> None:
    """Wait for a child, which must end well."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        sys.exit(f"child {pid} ended with {status}")


def children(bench: Bench, count: int, at_once: int) -> None:
    """``count`` children, ``at_once`` of them alive together; each uses the port that it got."""
    before, claims = ports.names(), bench.claims
    began = time.perf_counter()
    for first in range(0, count, at_once):
        pids = [bench.start(USES_ITS_PORT) for _ in range(min(at_once, count - first))]
        for _ in pids:
            if receive(bench.port, 60) != GOOD:
                sys.exit("another message than the children's")
        for pid in pids:
            reap(pid)
    took = time.perf_counter() - began
    bench.settle()
    left = {name: kinds for name, kinds in ports.names().items() if name not in before}
    if left or bench.claims - claims != count:
        sys.exit(f"{bench.claims - claims} claims of {count}; names left: {left}")
    print(f"{count:6} children, {at_once:3} at once: {took:6.1f} s; each got its port; no name left over")


def added(bench: Bench, rounds: int) -> None:
    """The time from before a spawn until the child was reaped."""

    def timed(start: Callable[[], int]) -> float:
        began = time.perf_counter()
        reap(start())
        return time.perf_counter() - began

    ways: dict[str, Callable[[], int]] = {
        "bare spawn": lambda: bench.spawn([]),
        "registered, never asks": lambda: bench.start([]),
        "rendezvous": lambda: bench.start(["acquire", "release"]),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, start in ways.items():
            times[name].append(timed(start))
    bench.settle()
    bare = statistics.median(times["bare spawn"])
    print(f"spawn to exit, median of {rounds}, by turns:")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"  {name:24} {median * 1e3:7.2f} ms  {median / bare:5.2f} of a bare spawn")


def rate(bench: Bench, count: int) -> None:
    """Claims by this very process, in which server and client take turns."""
    service = bench.server.service
    began = time.perf_counter()
    for _ in range(count):
        with bench.server.lock:
            bench.server.register_ports(os.getpid(), {KEY: Port.make_send(bench.port)})
        with RendezvousClient.acquire(service, server_pid=os.getpid()) as client:
            if client.port_count() != 1:
                sys.exit(f"no port: {client.outcome}")
    took = time.perf_counter() - began
    bench.server.forget(os.getpid())
    print(f"{count / took:8.0f} rendezvous a second (registration, request, reply, release; one client)")


def main() -> None:
    """Run all three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequence", type=int, default=10_000, help="children one after the other")
    parser.add_argument("--at-once", type=int, default=200, help="children alive together")
    parser.add_argument("--rounds", type=int, default=300, help="of each kind of spawn")
    parser.add_argument("--rate", type=int, default=5_000, help="claims by one process")
    arguments = parser.parse_args()
    excsim.start_if_needed()
    with tempfile.TemporaryDirectory() as directory:
        child = Path(directory, "child")
        subprocess.run(rendezvous_child.command(compiler.find() or "cc", child), check=True)
        bench = Bench(str(child), "/dev/null")
        try:
            rate(bench, arguments.rate)
            added(bench, arguments.rounds)
            children(bench, arguments.at_once, arguments.at_once)
            children(bench, arguments.sequence, 1)
        finally:
            bench.close()


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"the child does not compile: {error}")
