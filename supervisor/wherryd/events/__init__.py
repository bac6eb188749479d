"""The log of what happened: numbered, kept over restarts, followed by any number of readers.

Promise: a number is given once and the numbers have no holes; whoever reads sees each event of the kept
window once and in order, or is told which numbers he missed; no reader costs memory or time of others.

    log.py       numbers events, has them written with the state they tell of, and lets readers follow
    tally.py     how often what happened, since the start
    filters.py   which events a reader wants; pure
"""
