-- The usage ledger and its aggregates. Written by metering alone; rows of usage_events are never rewritten.

CREATE TABLE usage_events (
    event_id             uuid NOT NULL,
    day                  date NOT NULL,              -- from the event, never from now(): a second delivery meets the same partition
    occurred_at          timestamptz NOT NULL,
    period               date NOT NULL,
    account_id           bigint NOT NULL,
    key_id               bigint NOT NULL,
    model                text NOT NULL,
    provider             text NOT NULL,
    target               text NOT NULL,
    upstream_request_id  text NOT NULL,
    input_tokens         bigint NOT NULL,
    cache_read_tokens    bigint NOT NULL,
    cache_write_5m_tokens bigint NOT NULL,
    cache_write_1h_tokens bigint NOT NULL,
    output_tokens        bigint NOT NULL,
    reasoning_tokens     bigint NOT NULL,
    weights              integer[] NOT NULL,         -- thousandths per token class, in the order of the columns above
    price_version        text NOT NULL,
    cost_nano_usd        bigint NOT NULL,            -- by the price table
    charged_nano_usd     bigint NOT NULL,            -- counts against the caps: cost - waived
    waived_nano_usd      bigint NOT NULL,            -- beyond a cap: recorded, never billed
    status               smallint NOT NULL,
    outcome              text NOT NULL,
    estimated            text NOT NULL,              -- why the counts are ours; '' = the upstream's own
    attempt              smallint NOT NULL,
    stream               boolean NOT NULL,
    latency_ms           integer NOT NULL,
    first_byte_ms        integer NOT NULL,
    recorded_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, day),
    CHECK (cost_nano_usd = charged_nano_usd + waived_nano_usd)
) PARTITION BY RANGE (day);

CREATE INDEX usage_events_of_account ON usage_events (account_id, occurred_at DESC);

-- One row per day, account, key and model: what the portal's charts read.
CREATE TABLE usage_daily (
    day                  date NOT NULL,
    account_id           bigint NOT NULL,
    key_id               bigint NOT NULL,
    model                text NOT NULL,
    requests             bigint NOT NULL,
    estimated_requests   bigint NOT NULL,
    input_tokens         bigint NOT NULL,
    cache_read_tokens    bigint NOT NULL,
    cache_write_5m_tokens bigint NOT NULL,
    cache_write_1h_tokens bigint NOT NULL,
    output_tokens        bigint NOT NULL,
    reasoning_tokens     bigint NOT NULL,
    cost_nano_usd        bigint NOT NULL,
    charged_nano_usd     bigint NOT NULL,
    waived_nano_usd      bigint NOT NULL,
    PRIMARY KEY (account_id, day, key_id, model)
) WITH (fillfactor = 70);                            -- its rows change with every batch: room for the new version beside the old one

-- One row per billing period, account and key; key_id 0 is the account as a whole. What caps and the gateways' counters read.
CREATE TABLE usage_periods (
    period               date NOT NULL,
    account_id           bigint NOT NULL,
    key_id               bigint NOT NULL,
    requests             bigint NOT NULL,            -- also the version that orders what is written to Redis
    estimated_requests   bigint NOT NULL,
    input_tokens         bigint NOT NULL,
    cache_read_tokens    bigint NOT NULL,
    cache_write_5m_tokens bigint NOT NULL,
    cache_write_1h_tokens bigint NOT NULL,
    output_tokens        bigint NOT NULL,
    reasoning_tokens     bigint NOT NULL,
    cost_nano_usd        bigint NOT NULL,
    charged_nano_usd     bigint NOT NULL,
    waived_nano_usd      bigint NOT NULL,
    PRIMARY KEY (account_id, period, key_id)
) WITH (fillfactor = 70);

-- Stream entries that are no usage event. Parked with everything needed to replay them; never dropped.
CREATE TABLE usage_dead_letters (
    dead_letter_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream               text NOT NULL,
    entry_id             text NOT NULL,
    fields               jsonb NOT NULL,             -- field name -> base64 of the bytes
    reason               text NOT NULL,
    parked_at            timestamptz NOT NULL DEFAULT now(),
    replayed_at          timestamptz,
    UNIQUE (stream, entry_id)
);
