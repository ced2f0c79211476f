"""
From a client's bytes to an upstream's answer, and to one usage event: every request, exactly once.

`front` takes a request from the server, and `chat` is its story in one screen:

1. `authentication` turns the bearer key into an account and a key. A typo is refused without any look-up.
2. `bodies` takes in the body within bounds (a large one asks for the key's `standing` first, and `json_size` counts
   its values); `chat_request` reads the little of it that we rely on, with `exact_json` where the usual parser would
   round or refuse; `catalog` knows the model that it names, and `surcharges` refuses what costs more than its tokens.
3. `admission` asks Redis once whether the account and the key may, and reserves an upper bound: `demand` says how much
   that is, from the `token_estimate` of the input. `refusal` words what stands in the way. What Redis does not know
   (`cold_scopes`), `look_ups` ask Postgres, within a deadline. While Redis is away, `exposure` bounds what is served.
4. `failover` opens an answer: `routing` orders the targets, `target_search` takes the next that can be asked,
   `upstreams` asks it over `transport` in the words of `translators`. `retry_policy` decides what an `upstream_failure`
   means, `circuit_breaker` and `rate_pause` remember it, `verdict` words it when nobody has answered. Nothing is tried
   again once a byte of the answer has reached the client.
5. `relay` carries the answer to the client, chunk by chunk as `sse` finds them, and decides by `charge` what it used.
   `leases` keeps the reservation of a long answer alive, `keep_alive` the connection of a client whose stream is
   silent; `hang_up` stops the upstream when the client has gone.
6. `settlement` ends the `reservation`, exactly once, and its `event_draft` becomes the usage event: over
   `redis_pipeline`, the one connection that all requests share, or through the `spool` when Redis does not answer. What
   Redis acknowledged a moment before it was lost goes there too (`recent_endings`).

The spool: a `spool_record` is one line of a `spool_file`, `spool_contents` picks one record for each event from all of
them, `spool_replay` sends records to Redis, and `spool_backlog` keeps the files until Redis cannot lose what they held.

Beside the path: `models` lists what a key may ask for, `operations` serves the admin port, `request_log` writes one
line per request, and `metrics` counts.

What the steps speak of: `exchange` is one request and its answer with their `headers`, `event_id` its name; `errors`
are the refusals and `error_answer` how a client sees them; `limit_headers` tell it what it has left, and `cors` what
a browser may do with it.

How it runs: `workers` starts and watches the processes, each is a `worker`, `app` puts its parts together from
`settings`. Below them is the HTTP `server`: each of its `connections` is a `client_protocol`, whose `request_reader`
finds the requests, and whose `reading_pace` tells who takes no answer.
"""
