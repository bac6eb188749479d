"""What containers print: moved from their pipes to files, indexed, and read back.

Promise: no byte is lost or doubled, whatever ends or fails, and the log files hold exactly the
container's bytes. Nothing here ever holds a byte in memory that is not also in a pipe or a file
(overflow.py has the exception, for containers that asked for it), and no reader can stop a container.

    index.py      the records beside a log: who wrote which bytes, and when; what is missing
    pieces.py     the files that a log consists of: their names, and one of them open for reading
    segment.py    the one that is written to
    rotation.py   the steps to the next one, and what to make of those that were broken off
    shelf.py      the full ones that are kept, and which may go
    followers.py  who reads, and whom to wait for
    packed.py     the form of a full one that is packed
    packing.py    the process that packs; packer.py has it started
    source.py     where bytes come from: a pipe, or a terminal
    overflow.py   what is dropped of a container that does not wait, and the count of it
    trouble.py    what is said when they cannot be written
    limits.py     how much is kept, and in which way
    log.py        one container's log, as the rest of the supervisor holds it
    pump.py       the thread that moves the bytes
    locate.py     where reading starts: by time, by lines counted from the end
    reader.py     reading and following
"""
