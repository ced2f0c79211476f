"""
How fast is it, and does it stay so? Load on the real processes, measured beside other proxies on the same machine.

The pieces, from the bottom:

1. `mock_answers` and `mock_upstream` are a provider that costs next to nothing and stamps the time on its chunks.
2. `load` says what a load generator does and reports; `load_connection` is one of its connections, `clockwork` sends on
   time, `load_generator` is the process.
3. `process_usage` reads CPU time and memory, `cores` keeps the proxy under test on a core of its own.
4. `stack` starts everything around a gateway, `nginx` the yardstick beside it.

The measurements:

5. `bench` (`make bench`) runs the sections `throughput`, `latency`, `memory`, `workers`, `ledger` on a `bench_run`;
   `figures` knows the bars, `report` prints and keeps the results.
6. `gateway_profile` shows where the time goes, with a `profiled_gateway`.
7. `bench_peers` (`make bench-peers`) puts other gateways, started by `peers`, on the same mock under the same load.
8. `soak` (`make soak`) keeps a mixed load up and looks whether memory (`trend`) and connections come back to where they
9. `locustfile` is a chat user for Locust; `thresholds` says what it must see.
"""
