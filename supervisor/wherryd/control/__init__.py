"""The control socket: who may talk, what is said, and what each request means."""
