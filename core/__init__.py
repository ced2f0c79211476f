"""
What two or more processes have to agree on.

`principal` (who asks: an account and a key) is the word that all rooms share.

* `accounts`: keys, plans, and how Redis learns of both.
* `usage`: what is recorded of a request, and in which units.
* `models`: the models file, with targets and prices.
* `redis`: every key, field and script.
* `postgres`: connections, tables, migrations.
* `process`: how a process is configured, listens, logs and loops.
"""
