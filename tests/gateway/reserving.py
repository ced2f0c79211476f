"""A reservation of one request, as `admission` makes it."""

from uuid import UUID

from core.models.models_file import ModelsFile
from core.principal import AccountId, KeyId, Principal
from core.redis.keys import ReservationKeys
from core.usage.event_id import event_id
from core.usage.usage_event import instant_of
from gateway.accounting.reservation import Reservation
from gateway.accounting.settlement import Settlement
from tests.gateway.settlements import ACCOUNT, NOW_MS, SHARDS

__all__ = ["EVENT_ID", "KEYS", "MODEL", "PERIOD", "PRINCIPAL", "reservation_of"]

MODELS = """
[providers.p]
schema = "openai"
base_url = "http://127.0.0.1"
api_key = "x"
[models.m]
context_tokens = 10_000
max_output_tokens = 2_000
default_output_tokens = 500
tokenizer = "claude"
price = { input = "1.00", cache_read = "0.10", cache_write_1h = "2.00", output = "5.00", reasoning = "7.00" }
targets = [{ provider = "p", model = "m" }]
"""
MODEL = ModelsFile.parse(MODELS, {}).models["m"]
PRINCIPAL = Principal(AccountId(ACCOUNT), KeyId(1))
EVENT_ID: UUID = event_id(NOW_MS, b"0123456789")
KEYS = ReservationKeys.of(PRINCIPAL.account_id, PRINCIPAL.key_id, EVENT_ID, SHARDS)
NOW = instant_of(NOW_MS)
PERIOD = NOW.date().replace(day=1)


def reservation_of(
    settlement: Settlement, *, event_id: UUID = EVENT_ID, stream: bool = False, connection: int | None = 1
) -> Reservation:
    """Granted 100 output tokens, on that connection to Redis or, without one, on trust."""
    reservation = Reservation(
        settlement=settlement,
        keys=ReservationKeys.of(PRINCIPAL.account_id, PRINCIPAL.key_id, event_id, SHARDS),
        principal=PRINCIPAL,
        model=MODEL,
        event_id=event_id,
        occurred_at=NOW,
        period=PERIOD,
        stream=stream,
        service_tier="",
        likely_input=20,
        max_input=1_000,
        choices=1,
    )
    reservation.grant(100, 10, PERIOD, connection=connection)
    return reservation
