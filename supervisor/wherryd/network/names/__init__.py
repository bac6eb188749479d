"""Names of containers on user networks: a name server a network, in the supervisor."""
