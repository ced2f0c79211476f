#!/bin/sh
# Make what an installation has of its own: secrets, the models file, the settings in ../.env. Run it once on the
# server; running it again adds what is missing and changes nothing.
set -eu
umask 022
cd "$(dirname "$0")"
command -v openssl >/dev/null || { echo "openssl is needed: apt install openssl" >&2; exit 1; }

# The containers' users must be able to read the files; the directory keeps everybody else on this server out.
mkdir -p secrets models
chmod 0700 secrets

# keep NAME: store standard input as a secret, unless there is one already.
keep() {
	if [ -e "secrets/$1" ]; then
		cat >/dev/null
		return
	fi
	cat >"secrets/$1.new"
	chmod 0644 "secrets/$1.new"
	mv "secrets/$1.new" "secrets/$1"
	echo "made compose/secrets/$1"
}

openssl rand -hex 32 | keep postgres_password
echo "postgresql://poindexter:$(cat secrets/postgres_password)@postgres:5432/poindexter" | keep database_url
echo "requirepass $(openssl rand -hex 32)" | keep valkey_auth
echo "redis://:$(sed -n 's/^requirepass //p' secrets/valkey_auth)@valkey:6379/0" | keep redis_url
echo "1:$(openssl rand -hex 32)" | keep api_key_pepper
openssl rand -hex 16 | keep grafana_password
keep alertmanager.yml <alertmanager.example.yml

# Providers' keys can't be made; an empty one is refused by the gateway. There is a previous pepper only while it is
# rotated (docs/operations.md).
for name in openai_api_key anthropic_api_key api_key_pepper_previous; do
	keep "$name" </dev/null
done

[ -e models/models.toml ] || { cp ../models.toml models/models.toml; echo "made compose/models/models.toml"; }
[ -e ../.env ] || { cp ../.env.example ../.env; echo "made .env"; }

missing=
grep -q '^DOMAIN=.' ../.env || missing="$missing
  DOMAIN in deploy/.env"
for name in openai_api_key anthropic_api_key; do
	[ -s "secrets/$name" ] || missing="$missing
  the provider's key in deploy/compose/secrets/$name (or take the provider out of deploy/compose/models/models.toml)"
done
grep -q '^ *[a-z]*_configs:' secrets/alertmanager.yml || missing="$missing
  a notifier in deploy/compose/secrets/alertmanager.yml: until then nobody is paged"
[ -z "$missing" ] || echo "Still yours to fill in:$missing"
