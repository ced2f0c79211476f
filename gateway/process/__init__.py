"""
How the gateway runs.

1. `workers` starts the worker processes, and starts those that die again.
2. `worker` is one of them: it serves until it is told to stop, and then finishes what is open.
3. `readiness` is what its admin port shows beside the metrics.
"""
