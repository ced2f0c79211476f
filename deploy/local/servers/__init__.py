"""
Postgres and Valkey on this machine.

1. `programs` finds them: the wheels of requirements-local.lock first, installed packages after them.
2. `unprivileged` says what the user nobody may enter, because Postgres refuses to run as root.
3. `child` starts a process that cannot outlive us, even when we are killed with -9.
4. `pids` recognises processes that a former run left behind; `ports` finds free ports.
5. `local_process` is a program with its log: started, watched, stopped, killed.
6. `postgres`, on a directory that `postgres_data` makes and checks, and `valkey` are the two servers.
"""
