#!/usr/bin/env bash
# The server's TLS against Mozilla's recommendations for servers (the "intermediate" configuration), as sslyze judges it.
#   tests/interop-sslyze.sh [RESOUND]        # by default target/release/resound
# Needs openssl, and sslyze (PyPI: pip install sslyze) on the path or where SSLYZE says. Where it is missing nothing is tested.
set -euo pipefail
sslyze=${SSLYZE:-sslyze}
for program in "$sslyze" openssl; do
    command -v "$program" >/dev/null || { echo "NOT TESTED  $program is not installed"; exit 0; }
done
resound=$(realpath "${1:-$(dirname "$0")/../target/release/resound}")
folder=$(mktemp -d)
server=
finish() { [ -z "$server" ] || kill "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"; }
trap finish EXIT
cd "$folder"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=authority \
    -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.pem 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout key.pem -out request.pem 2>/dev/null
printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' >extensions
# Mozilla recommends that a certificate lives for 90 days.
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -days 90 -extfile extensions -out cert.pem 2>/dev/null

"$resound" server 127.0.0.1 0 --tls --cert cert.pem --key key.pem >log 2>&1 &
server=$!
for _ in $(seq 500); do grep -q ^Waiting log && break; sleep 0.02; done
port=$(sed -n 's/^TCP Server started on 127.0.0.1://p' log)
[ -n "$port" ] || { cat log; exit 1; }

"$sslyze" --mozilla_config intermediate --certinfo --certinfo_ca_file ca.pem "localhost:$port{127.0.0.1}" >report 2>errors || code=$?
grep -A20 "COMPLIANCE AGAINST" report || { cat report errors; exit 1; }
exit "${code:-0}"
