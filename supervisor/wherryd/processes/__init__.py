"""Processes of running containers: those that exec adds, and what the host's /proc says of all of them.

    execs.py          every exec of this supervisor, for requests; known.py has which there are
    keeper.py         keeps them from their start to their end; caller.py is who is told
    young.py          those that have hardly begun, most of which need no more keeping
    session.py        one of them; telling.py is what events and journal say of it
    spec.py           from a request to the launcher's plan; refusals
    probe.py          probes of health, which are short execs
    unshown.py        a terminal that nobody shows
    container_end.py  whether an exec ended with its container
    kin.py            killing an exec with everything that it started
    top.py            the table of a container's processes; users.py names their users

An exec is no container: it has no record and no log, and no life beyond its container's.
"""
