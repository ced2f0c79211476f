"""
What is recorded of a request, and in which units.

`event_id` names a request and its event. `usage_event` is the wire form between gateway and metering. `token_usage` has
the token classes, `money` the nano-dollars, `billing_period` says which period pays.
"""
