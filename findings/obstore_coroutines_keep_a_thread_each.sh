#!/usr/bin/env bash
# obstore 0.12.1 gives each coroutine that waits a thread of its own, also for objects in memory.
#
# asyncio is chosen to have many requests under way with few threads. With obstore's coroutines a process has about one
# thread for each request that is under way: 4,000 reads of a MemoryStore, 64 at a time, end with more than 64 threads,
# which stay for ten seconds, and 256 at a time with about 270. A process that read a bucket for minutes had 460. One thread
# that calls the blocking function reads the same objects without any further thread, and sooner.
#
# Output seen (the numbers after the first row differ from run to run):
#   get_range, 4,000 times             0 more threads
#   get_range_async, 1 at a time       8 more threads
#   get_range_async, 64 at a time     87 more threads
#   get_range_async, 256 at a time   273 more threads
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv environment
environment/bin/pip -q install obstore==0.12.1
cat >read.py <<'PYTHON'
import asyncio
import os
import sys

import obstore
from obstore.store import MemoryStore

limit = int(sys.argv[1])
store = MemoryStore()
obstore.put(store, "report", bytes(5000))


def threads():
    return len(os.listdir("/proc/self/task"))


async def read():
    free = asyncio.Semaphore(limit)

    async def one():
        async with free:
            await obstore.get_range_async(store, "report", start=0, end=1000)

    await asyncio.gather(*(one() for _ in range(4000)))
    return threads()


before = threads()
for _ in range(4000):
    obstore.get_range(store, "report", start=0, end=1000)
print(threads() - before, asyncio.run(read()) - before)
PYTHON
for limit in 1 64 256; do
    read -r blocking waiting < <(environment/bin/python read.py "$limit")
    if [ "$limit" = 1 ]; then printf '%-32s %3d more threads\n' "get_range, 4,000 times" "$blocking"; fi
    printf '%-32s %3d more threads\n' "get_range_async, $limit at a time" "$waiting"
    [ "$blocking" = 0 ]
    [ "$limit" = 1 ] || [ "$waiting" -ge $((limit * 3 / 4)) ]
done
