"""
The whole system on one machine, from Python packages: no Docker, no root, no account anywhere.

Before all of it, `bootstrap` installs the lock file into `.venv`; it is the one module that runs under any Python.

The servers, which tests use as well:

1. `programs` finds Postgres and Valkey: the wheels of requirements-local.lock first, installed packages after them.
2. `unprivileged` says what the user nobody may enter, because Postgres refuses to run as root.
3. `child` starts a process that cannot outlive us, even when we are killed with -9.
4. `pids` recognises processes that a former run left behind; `ports` finds free ports.
5. `postgres`, on a directory that `postgres_data` makes and checks, and `valkey` are the two servers: start, stop,
   kill -9, restart on the same data and port.

`poindexter up`, in the order of a start:

1. `up` is the start itself, step by step, and the one place that turns a problem of `errors` into an exit code.
2. `state` is the directory that keeps everything; it can be open once. `env_file` is the form of what it tells clients,
   `operator_environment` keeps that apart from what the operator asks for.
3. `processes` is the table of our own processes; `service` runs a row of it.
4. `supervisor` starts them in order, restarts what dies, and stops them in the opposite order;
   `log_rotation` keeps what they write small.
5. `welcome` shows the progress, and at the end how to use what is running.
"""
