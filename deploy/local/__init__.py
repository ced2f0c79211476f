"""
The whole system on one machine, from Python packages: no Docker, no root, no account anywhere.

Before all of it, `bootstrap` installs the lock file into `.venv`; it is the one module that runs under any Python.

* `servers` are Postgres and Valkey, which tests use as well.
* `services` are our own processes: started in order, watched, stopped.

`poindexter up`, in the order of a start:

1. `up` is the start itself, step by step, and the one place that turns a problem of `errors` into an exit code.
2. `state` is the directory that keeps everything; it can be open once. `env_file` is the form of what it tells clients,
   `operator_environment` keeps that apart from what the operator asks for.
3. `welcome` shows the progress, and at the end how to use what is running.
"""
