"""The words for what a request, an event and a connection can be."""

__all__ = [
    "ADMITTED",
    "BROKEN",
    "DOWN",
    "ESTIMATE",
    "EXACT",
    "FORGOTTEN",
    "INTENT",
    "LOST",
    "NEW",
    "OVER",
    "RELEASE",
    "RELEASED",
    "SENT",
    "SETTLED",
    "UP",
    "VOID",
]

# A request, and what the ledger owes it when all is over.
NEW, ADMITTED, SENT = "new", "admitted", "sent"
SETTLED = "settled"
"""The client saw the answer's end: its exact counts, once."""
RELEASED = "released"
"""Refused, or failed and told so: no charge."""
LOST = "lost"
"""Sent, and its gateway died before it settled: exactly one event, whichever."""
FORGOTTEN = "forgotten"
"""Its gateway died before it was sent, or before a release left it: an estimate, or nothing."""

EXACT, ESTIMATE, VOID = "exact", "estimate", "void"
INTENT = "intent"
"""What a request under way owes, on the disk: settled as an estimate when its process is dead."""

RELEASE = "release"
"""A command without an event: release.lua alone."""

UP, DOWN = "up", "down"
BROKEN = "broken"
"""Lost while the gateway was frozen: it does not know yet."""

OVER = SETTLED, RELEASED, LOST, FORGOTTEN
