"""
The guards of the settlement protocol, one boolean each. All on: the protocol as it is. All off: as it was before them.

Every guard that is switched off alone makes the exploration fail (`test_model.py`), unless its comment names the other
guard that covers the same fault: then both have to be off.
"""

from dataclasses import dataclass, fields, replace

__all__ = ["CAP", "ESTIMATED_COST", "WANTED", "Protocol"]

CAP = 3
"""Of the one account, in the model's money."""
WANTED = 2
"""What a request reserves where the cap leaves room for it. Its answer then costs exactly what was granted."""
ESTIMATED_COST = 1
"""Of the event that stands in for a request nobody ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    estimate_with_admit: bool = True
    """`admit` stores the estimate; off: a `dispatch` that nobody answers adds it before the request is sent."""
    intent_on_trust: bool = True
    """On trust: an intent is on the disk before the request is sent; off: only while Redis is not connected."""
    intent_for_every_open_request: bool = True
    """A lost connection puts down an intent for each request that was sent, again and again until the disk has it, and
    each other one waits for its intent before it is sent; off: once, for those that were sent."""
    void_after_late_release: bool = True
    """A `release` that finds nothing is followed by a void event, which beats the estimate."""
    void_also_on_trust: bool = True
    """A request on trust is released by the void event: whether Redis ever had its reservation, nobody knows."""
    void_when_put_down: bool = True
    """... and so is one whose connection was lost since its admission: an intent of it lies on the disk."""
    void_for_spooled_release: bool = True
    """What the spool replays for a release is the void event, whatever Redis still holds."""
    release_of_unanswered_admit: bool = True
    """Who gives up an `admit` that may have run spools a release."""
    own_ending_replaces_estimate: bool = True
    """The ledger prefers what a gateway settled to an estimate. Covers `newest_record_across_files`."""
    version_counts_changes: bool = True
    """A replaced, parked or replayed event moves the version of the totals as an inserted one does."""
    sweeper_looks_twice: bool = True
    """A deadline that passed is believed when it has not moved for longer than a living gateway takes to renew."""
    waive_at_the_cap_only: bool = True
    """What other requests have reserved is no reason to waive."""
    parked_counts: bool = True
    """A parked amount stays in what Redis calls the ledger's total."""
    parked_until_recorded: bool = True
    """A dead letter ends when its event is recorded, or found; off: when Redis has acknowledged its replay."""
    cold_until_published_for_this_server: bool = True
    """`admit` trusts a scope only if it was published for the very server that it asks."""
    settle_asks_for_publication: bool = True
    """... and so does `settle`: until then the ending waits in the spool, and the sweeper for its next round."""
    recent_settlements_kept: bool = True
    """Settlements that Redis acknowledged a moment ago are spooled when the connection is lost."""
    recent_settlements_of_all_kinds: bool = True
    """... releases and replayed records as well."""
    newest_record_across_files: bool = True
    """All files of the spool are read together, an ending before any intent. Covered by
    `own_ending_replaces_estimate`."""
    memory_sent_at_shutdown: bool = True
    """What waits in memory because the disk refuses is sent to a Redis that is there."""

    @classmethod
    def before(cls) -> "Protocol":
        return cls(**{guard.name: False for guard in fields(cls)})

    def without(self, *guards: str) -> "Protocol":
        return replace(self, **dict.fromkeys(guards, False))
