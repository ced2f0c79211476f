"""
Our own processes on this machine.

`processes` is the table of them; `service` runs a row of it. `supervisor` starts them in order, restarts what dies, and
stops them in the opposite order; `log_rotation` keeps what they write small.
"""
