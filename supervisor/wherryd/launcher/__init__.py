"""The launcher: a small process that forks, reaps and holds descriptors, and outlives the supervisor.

    plan.py     what a container's first process does before its command, as values
    exec_plan.py  the same of a process that joins a running container
    wire.py     the private protocol: msgpack over SEQPACKET, descriptors ride along

In the launcher's process (standard library, msgpack and `wherryd.kernel` only):
    main.py     start-up
    loop.py     the event loop: requests in, exits out, never waiting for anybody
    moment.py   what it does not look at while a command may end that has hardly begun
    entry.py    one container: its descriptors and what is known of it; exec_entry.py: one exec
    child.py    the forked child: applies a plan and executes
    root.py     the child's root file system
    user.py     the container's own passwd and group files
    crew.py     the workers, and worker.py one of them: builds a container, forks its first process
    join.py     the same of a process that joins; told.py: what its client hears from us of its end
    peer.py     the connection to the supervisor

In the supervisor's process (trio):
    start.py    starting a launcher that is nobody's child; detach.py is that way
    finding.py  which launchers there are: the current one, and those of other releases, which drain
    handle.py   talking to them: link.py is a socket, requests.py what is asked, outcome.py the answers
    ledger.py   what was asked of them and what they hold; asked.py is what callers wait for
    orphan.py   the exits of containers whose launcher is gone
"""
