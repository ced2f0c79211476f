"""
What people and Dex instances use to see and control an account.

* `accounts` creates accounts and changes their limits and status.
* `api_keys` creates keys, shows what may be shown of them, and revokes them.
* `publication` brings every change to the gateways before it is reported as done.
* `names` says what accounts and keys may be called.
* `errors` is what can be refused, with messages for the person who asked.
"""
