"""
How a process runs, the same for all of them.

1. `settings` come from the environment; `startup` says which can't be used. `exit_codes` are what a supervisor reads.
2. `listener` opens its ports, and `admin_port` serves the one for operators.
3. `logs` go over `line_output`. `worker_loop` repeats work; `restart_policy` says when a dead process is started again.
4. `failpoints` are places where a test lets it die.
"""
