"""
From a client's bytes to an upstream's answer, and to one usage event: every request, exactly once.

Each step of a request is a room:

1. `inbound` speaks HTTP/1.1 with the client and hands over one request at a time.
2. `endpoints` find what is asked for; theirs is the story of a request in one screen, and the one place that turns an
   error into an answer.
3. `admission` decides whether the account and the key may, and how much to reserve.
4. `accounting` holds what is owed from then on: it reserves, charges, and settles exactly once, over Redis or through
   the `spool` on the disk.
5. `answering` gets an answer from one of the `upstreams` that can give it and carries it to the client.
6. `dialects` translate between the client's words and the upstream's; `outbound` speaks HTTP/1.1 with the upstream.

Below them: `store` asks Redis, and Postgres for what Redis does not know; `records` keeps what remains of a request,
its log line and its metrics. `errors` are the refusals that a client can see, `failure` is what an upstream did wrong.

How it runs: `process` starts the worker processes, each of which has an `app` put together from `settings`.
"""
