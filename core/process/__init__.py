"""
How a process runs: `settings` from the environment, `listener` for its ports, `logs` over `line_output`, `worker_loop`
for what repeats; `failpoints`, where a test lets it die.
"""
