"""
gateway/spool/spool.py: what lies on a gateway's disk, and what waits in its memory because the disk refuses.

Writing and syncing are one step here: a process that dies in between has promised nothing yet, which is the same as
dying before.
"""

from tests.model.protocol import Protocol
from tests.model.state import Record, State, put
from tests.model.vocabulary import ESTIMATE, EXACT, INTENT, VOID

__all__ = ["keep", "keep_intent", "merged", "next_record", "without_record"]

Files = tuple[tuple[Record, ...], ...]

WEIGHT = {INTENT: 0, ESTIMATE: 1, VOID: 2, EXACT: 2}


def keep(state: State, number: int, record: Record, protocol: Protocol) -> State:
    """Spool.put: an ending goes to the disk, or stays in memory while the disk refuses."""
    gateway = state.gateways[number]
    if not gateway.disk_refuses:
        gateway = gateway._replace(files=_append(gateway.files, record, protocol))
    else:
        memory = tuple([one for one in gateway.memory if one.request != record.request])
        gateway = gateway._replace(memory=(*memory, record), files=_refused(gateway.files, protocol))
    return state._replace(gateways=put(state.gateways, number, gateway))


def keep_intent(state: State, number: int, request: int, protocol: Protocol) -> tuple[State, bool]:
    """Spool.put_intent. False: the disk refuses (SpoolFailed)."""
    gateway = state.gateways[number]
    taken = not gateway.disk_refuses
    record = Record(request, INTENT)
    files = _append(gateway.files, record, protocol) if taken else _refused(gateway.files, protocol)
    return state._replace(gateways=put(state.gateways, number, gateway._replace(files=files))), taken


def next_record(files: Files, *, adopted: bool) -> tuple[int, Record] | None:
    """The first one to send, and its file. Our own intents are not sent: those of ended requests leave the disk some
    time later, and staying there until this process dies is the worse case."""
    for position, file in enumerate(files):
        for record in file:
            if adopted or record.kind != INTENT:
                return position, record
    return None


def without_record(files: Files, position: int, record: Record) -> Files:
    rest = tuple([one for one in files[position] if one != record])
    return (*files[:position], *((rest,) if rest else ()), *files[position + 1 :])


def merged(files: Files, protocol: Protocol) -> Files:
    """How adopted files are read: together, an ending before any intent; without the guard one after the other."""
    files = tuple([file for file in files if file])
    if not protocol.newest_record_across_files or len(files) < 2:
        return files
    records = [record for file in files for record in file]
    best = {record.request: record for record in sorted(records, key=lambda record: WEIGHT[record.kind])}
    return (tuple(best.values()),)


def _append(files: Files, record: Record, protocol: Protocol) -> Files:
    """Within a file the newest record of an event counts; across the files too, and an ending before any intent."""
    if protocol.newest_record_across_files:
        records = [one for file in files for one in file]
        if record.kind == INTENT and any(one.request == record.request for one in records):
            return files
        return ((*[one for one in records if one.request != record.request], record),)
    *full, last = files or ((),)
    return (*full, (*[one for one in last if one.request != record.request], record))


def _refused(files: Files, protocol: Protocol) -> Files:
    """It may have left half a record: the next one begins a new file. Where all are read as one, nobody sees it."""
    if protocol.newest_record_across_files or not files or not files[-1]:
        return files
    return (*files, ())
