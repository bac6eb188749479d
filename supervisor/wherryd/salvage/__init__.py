"""What is left when the state database is not: copies of its rows in small files, and the way back from them.

    <state>/records/<container id>     a container
    <state>/records/tables             networks, volumes, names of images

They follow the database a moment later and are read only where it cannot be. Its broken file is kept aside.
"""
