-- Accounts and their API keys. Written by portal_api, read by gateway and metering.

CREATE TABLE accounts (
    account_id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                 text NOT NULL CHECK (name <> ''),
    plan                 text NOT NULL,
    status               text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    requests_per_minute  integer CHECK (requests_per_minute >= 0),      -- NULL = no limit
    tokens_per_minute    bigint CHECK (tokens_per_minute >= 0),
    concurrent_requests  integer CHECK (concurrent_requests >= 0),
    cap_nano_usd         bigint CHECK (cap_nano_usd >= 0),              -- per billing period
    revision             bigint NOT NULL DEFAULT 1,                     -- grows with every change: orders what is published to Redis
    published_revision   bigint NOT NULL DEFAULT 0,                     -- smaller than revision: the gateways don't know the change yet
    created_at           timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    key_id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id           bigint NOT NULL REFERENCES accounts,
    name                 text NOT NULL CHECK (name <> ''),
    digest               bytea NOT NULL UNIQUE,                         -- HMAC-SHA256 under the pepper `pepper_id`
    pepper_id            integer NOT NULL,
    display_prefix       text NOT NULL,
    status               text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'revoked')),
    models               text[],                                        -- NULL = every model
    requests_per_minute  integer CHECK (requests_per_minute >= 0),
    tokens_per_minute    bigint CHECK (tokens_per_minute >= 0),
    concurrent_requests  integer CHECK (concurrent_requests >= 0),
    cap_nano_usd         bigint CHECK (cap_nano_usd >= 0),
    expires_at           timestamptz,
    revoked_at           timestamptz,
    revision             bigint NOT NULL DEFAULT 1,
    published_revision   bigint NOT NULL DEFAULT 0,
    created_at           timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX api_keys_of_account ON api_keys (account_id, key_id);
CREATE INDEX accounts_unpublished ON accounts (account_id) WHERE published_revision < revision;
CREATE INDEX api_keys_unpublished ON api_keys (account_id) WHERE published_revision < revision;
