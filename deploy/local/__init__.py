"""
The whole system on one machine, from Python packages: no Docker, no root, no account anywhere.

Before all of it, `bootstrap` installs the lock file into `.venv`; it is the one module that runs under any Python.

The servers, which tests use as well:

1. `programs` finds Postgres and Valkey: the wheels of requirements-local.lock first, installed packages after them.
2. `unprivileged` says what the user nobody may enter, because Postgres refuses to run as root.
3. `child` starts a process that cannot outlive us, even when we are killed with -9.
4. `pids` recognises processes that a former run left behind; `ports` finds a free port and says whether one is taken.
5. `postgres` and `valkey` are the two servers: start, stop, kill -9, restart on the same data and port.
"""
