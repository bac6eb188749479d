"""What containers print: moved from their pipes to files, indexed, and read back.

Promise: no byte is lost or doubled, whatever ends or fails, and the log file holds exactly the
container's bytes. Nothing here ever holds a byte in memory that is not also in a pipe or a file,
and no reader can slow a container down.

    index.py     the records beside a log: who wrote which bytes, and when
    segment.py   one data file and its index, open for writing
    source.py    where bytes come from: a pipe, or a terminal
    log.py       one container's log, as the rest of the supervisor holds it
    pump.py      the thread that moves the bytes
    locate.py    where reading starts: by time, by lines counted from the end
    reader.py    reading and following
"""
