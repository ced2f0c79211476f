-- What the ledger needs so that an own ending replaces an estimate, so that what is parked still counts against the caps,
-- and so that what a customer owes may differ from what the answer costs.

-- What the customer owes for the event, charged or waived. `cost_nano_usd` is what the price table says.
ALTER TABLE usage_events ADD COLUMN owed_nano_usd bigint;
UPDATE usage_events SET owed_nano_usd = charged_nano_usd + waived_nano_usd;
ALTER TABLE usage_events ALTER COLUMN owed_nano_usd SET NOT NULL;
ALTER TABLE usage_events DROP CONSTRAINT usage_events_check;
ALTER TABLE usage_events ADD CONSTRAINT usage_events_owed CHECK (owed_nano_usd = charged_nano_usd + waived_nano_usd);

ALTER TABLE usage_daily ADD COLUMN owed_nano_usd bigint NOT NULL DEFAULT 0;
UPDATE usage_daily SET owed_nano_usd = charged_nano_usd + waived_nano_usd;

-- `version` grows with every event that is recorded, replaced, parked, replayed or written off: it orders what is written
-- to Redis. `parked_nano_usd` is charged by dead letters that wait; the caps see charged + parked.
ALTER TABLE usage_periods
    ADD COLUMN owed_nano_usd bigint NOT NULL DEFAULT 0,
    ADD COLUMN parked_nano_usd bigint NOT NULL DEFAULT 0,
    ADD COLUMN version bigint NOT NULL DEFAULT 0;
UPDATE usage_periods SET owed_nano_usd = charged_nano_usd + waived_nano_usd, version = requests;

-- Estimates that an own ending of the gateway has replaced, as they were recorded. In no sum.
CREATE TABLE usage_replaced (
    LIKE usage_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    replaced_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, day)
);

CREATE INDEX usage_replaced_of_day ON usage_replaced (day);

-- Whose amount is parked, of which event, and what became of it. The first four, and the event's id, are NULL where the
-- entry does not even name them. `is_estimate`: it is the sweeper's, which any row of the event makes superfluous.
-- `replayed_at` (0002) says that the letter has ended: its event is in the ledger or, without an event id, it was put
-- back on its stream. With an event id it waits until then; `on_stream_as` is the entry that it was put back as.
ALTER TABLE usage_dead_letters
    ADD COLUMN account_id bigint,
    ADD COLUMN key_id bigint,
    ADD COLUMN period date,
    ADD COLUMN charged_nano_usd bigint,
    ADD COLUMN event_id uuid,
    ADD COLUMN is_estimate boolean NOT NULL DEFAULT false,
    ADD COLUMN on_stream_since timestamptz,
    ADD COLUMN on_stream_as text,
    ADD COLUMN written_off_at timestamptz,
    ADD COLUMN written_off_by text,
    ADD COLUMN written_off_reason text;

CREATE INDEX usage_dead_letters_waiting ON usage_dead_letters (dead_letter_id)
    WHERE replayed_at IS NULL AND written_off_at IS NULL;

CREATE INDEX usage_dead_letters_of_event ON usage_dead_letters (event_id)
    WHERE replayed_at IS NULL AND written_off_at IS NULL AND event_id IS NOT NULL;

-- Letters that wait already: whom they belong to stands in the entry. What it does not say stays NULL.
DO $$
DECLARE
    letter record;
    event jsonb;
BEGIN
    FOR letter IN SELECT * FROM usage_dead_letters WHERE replayed_at IS NULL LOOP
        BEGIN
            event := convert_from(decode(letter.fields->>'e', 'base64'), 'UTF8')::jsonb;
        EXCEPTION WHEN data_exception THEN
            CONTINUE;
        END;
        UPDATE usage_dead_letters SET
            event_id = (event->>'id')::uuid,
            is_estimate = coalesce(event->>'estimated' = 'gateway_lost', false)
        WHERE dead_letter_id = letter.dead_letter_id
            AND event->>'id' ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$';
        BEGIN
            UPDATE usage_dead_letters SET
                account_id = (event->>'account')::bigint,
                key_id = (event->>'key')::bigint,
                period = (event->>'period')::date,
                charged_nano_usd = convert_from(decode(letter.fields->>'c', 'base64'), 'UTF8')::bigint
            WHERE dead_letter_id = letter.dead_letter_id;
        EXCEPTION WHEN data_exception THEN
            CONTINUE;
        END;
    END LOOP;
END
$$;

UPDATE usage_dead_letters SET account_id = NULL, key_id = NULL, period = NULL, charged_nano_usd = NULL
WHERE num_nulls(account_id, key_id, period, charged_nano_usd) > 0 OR charged_nano_usd < 0 OR least(account_id, key_id) < 1;

INSERT INTO usage_periods AS periods (
    account_id, period, key_id, requests, estimated_requests, input_tokens, cache_read_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, output_tokens, reasoning_tokens, cost_nano_usd, charged_nano_usd, waived_nano_usd,
    parked_nano_usd, version
)
SELECT account_id, period, coalesce(key_id, 0), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, sum(charged_nano_usd), count(*)
FROM usage_dead_letters WHERE replayed_at IS NULL AND account_id IS NOT NULL
GROUP BY GROUPING SETS ((account_id, period, key_id), (account_id, period))
ON CONFLICT (account_id, period, key_id) DO UPDATE
SET parked_nano_usd = EXCLUDED.parked_nano_usd, version = periods.version + EXCLUDED.version;

-- What is fixed when an installation is created and must be the same for every process, such as the number of shards.
CREATE TABLE installation (
    name                 text PRIMARY KEY,
    value                text NOT NULL
);
