"""
What remains of a request: a `request_record`, filled along its path and read by observers at its end.

`request_metrics` counts it in `metrics`, through `tallies`, which are handed over a few times a second; `request_log`
writes its `request_line`. Nothing else counts or logs a request; prompts and answers are in none of them.
"""
