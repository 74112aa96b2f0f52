#!/bin/bash
set -eo pipefail
export PGDATA=${PGDATA:-/var/lib/postgresql/18/docker}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA"
  user=${POSTGRES_USER:-postgres}
  initdb --username="$user" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-host=scram-sha-256 --auth-local=trust \
    --encoding=UTF8 --locale=C.UTF-8 --pgdata="$PGDATA" >/dev/null
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  postgres -D "$PGDATA" -c listen_addresses= -k /run/postgresql >/dev/null 2>&1 &
  server=$!
  until pg_isready -q -h /run/postgresql -U "$user"; do sleep 0.1; done
  if [ "${POSTGRES_DB:-$user}" != postgres ]; then
    psql -q -h /run/postgresql -U "$user" -d postgres -c "create database \"${POSTGRES_DB:-$user}\""
  fi
  kill -INT $server
  wait $server
fi
exec "$@" -c "listen_addresses=*" -k /run/postgresql
