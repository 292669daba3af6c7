#!/bin/sh
# Makes passwords for deploy/compose.yaml into deploy/secrets, once; what is there is left as it is.
#   sh deploy/secrets.sh            files for compose
#   sh deploy/secrets.sh --kubectl  the same as a Secret for the overlay `small`, on standard output
set -eu
umask 077
folder=${SECRETS_FOLDER:-$(dirname "$0")/secrets}
broker_host=rabbitmq store_host=postgres
mkdir -p "$folder"
chmod 700 "$folder"
new() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
keep() { # NAME: what comes on standard input, unless there is such a file
    if [ -e "$folder/$1" ]; then cat >/dev/null; else cat >"$folder/$1"; fi
    # Whoever runs in a container reads its own as a single file; the folder keeps others on this machine out.
    chmod 644 "$folder/$1"
}
value() { cat "$folder/$1"; }

new | keep postgres_password
new | keep rabbitmq_password
new | keep s3_access_key
new | keep s3_secret_key
new | keep grafana_password
printf 'postgresql+psycopg://facefusion:%s@%s/jobs' "$(value postgres_password)" "$store_host" | keep job_store
printf 'amqp://facefusion:%s@%s:5672/%%2F' "$(value rabbitmq_password)" "$broker_host" | keep broker
printf 'default_user = facefusion\ndefault_pass = %s\n' "$(value rabbitmq_password)" | keep rabbitmq.conf
printf '{"identities": [{"name": "facefusion", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": ["Admin", "Read", "Write", "List"]}]}\n' \
    "$(value s3_access_key)" "$(value s3_secret_key)" | keep s3_identities.json

if [ "${1-}" = --kubectl ]; then
    echo 'apiVersion: v1
kind: Secret
metadata:
  name: facefusion-secrets
  namespace: facefusion
type: Opaque
data:'
    for name in job_store broker postgres_password; do
        echo "  $name: $(base64 <"$folder/$name" | tr -d '\n')"
    done
    echo "  rabbitmq_conf: $(base64 <"$folder/rabbitmq.conf" | tr -d '\n')"
else
    echo "Secrets are in $folder."
fi
