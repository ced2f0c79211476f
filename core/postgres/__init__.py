"""
What lies in Postgres.

`url` reads what DATABASE_URL may say, `connections` opens connections, `migrations` makes the tables
of the directory schema, `installation` stores what is fixed when an installation is created.
"""
