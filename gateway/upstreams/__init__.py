"""
Who can answer for a model, and who should be asked now.

1. `catalog` knows the models of the models file, and reads the file again when it changes.
2. `upstream` is one target of a model: how it is addressed, in which words, and with which key.
3. `routing` orders the targets of a request; `retry_policy` decides what a failed attempt means.
4. `circuit_breaker` remembers that a target fails, `rate_pause` that it has asked for a pause.
"""
