"""What running containers use. Costs nothing while nobody looks: nothing is kept between two looks.

reading.py   reads one container's counters; what is not there is None
looking.py   looks at many at once, in a thread, and at the time between two looks
"""
