"""Mach in Python types: rights that release themselves, errors with names, children with exception ports.

A thin layer over the functions of libSystem (on machines without Mach, over the simulated kernel's), under
Apple's names. One concept a module:

* `errors`: a return code that was not success, as an exception with the code's name;
* `ports`: receive, send and send-once rights and port sets, each released exactly once;
* `host`: the running system: release, build, kernel, developer mode;
* `exception_ports`: where the EXC_GUARD of a task is delivered, with the two behaviors that hand out no
  control port;
* `guard_behavior`: what the kernel does to a task that breaks a soft or optional rule;
* `spawn`: a child whose guard exceptions arrive at a port of ours from its first instruction on;
* `bootstrap`: finding and offering services by name;
* `rendezvous`: port rights for a child that is being born.

No right to a task or thread control port is ever sent anywhere from here, and no thread's state is ever
written.
"""
