#!/usr/bin/env bash
# TLS with other people's programs, both ways. Those that are not installed are named and passed over.
#   tests/interop.sh [RESOUND]        # by default target/release/resound
set -u
resound=$(realpath "${1:-$(dirname "$0")/../target/release/resound}")
work=$(mktemp -d); cd "$work"
failed=0; pids=()
finish() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done; wait 2>/dev/null; rm -rf "$work"; }
trap finish EXIT

has() { command -v "$1" >/dev/null || { echo "NOT TESTED  $1 is not installed"; return 1; }; }
# check NAME COMMAND...: what the command writes must hold both replies, and ours must also end well
check() {
    local name=$1 got code; shift
    got=$(timeout 20 bash -o pipefail -c "$*" 2>"$work/stderr"); code=$?
    [[ $* == *"$resound client"* ]] || code=0
    if [[ $code == 0 && $got == *"Server received: a"*"Server received: b"* ]]; then echo "ok          $name"
    else echo "FAILED      $name (exit code $code)"; echo "$got" | head -5; head -5 "$work/stderr"; failed=1; fi
}
# serve VARIABLE ARGS...: a server on a free port
serve() {
    local -n port=$1; shift
    "$resound" server 127.0.0.1 0 "$@" >"$work/log.$1" 2>&1 & pids+=($!)
    for _ in $(seq 100); do
        port=$(sed -n 's/^TCP Server started on 127.0.0.1://p' "$work/log.$1" | head -1)
        [[ -n $port ]] && grep -q Waiting "$work/log.$1" && return; sleep 0.1
    done
    echo "the server does not start"; cat "$work/log.$1"; exit 1
}
# A port that was free a moment ago.
free() { rm -f "$work/free"; "$resound" server 127.0.0.1 0 -q >"$work/free" & local pid=$!; until [[ -s $work/free ]]; do sleep 0.05; done; kill $pid; wait $pid; sed 's/.*://' "$work/free"; }
up() { until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do sleep 0.1; done; }

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=authority -keyout ca.key -out ca.pem 2>/dev/null || exit 2
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout key.pem -out request.pem 2>/dev/null
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >extensions
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -days 30 -extfile extensions -out cert.pem 2>/dev/null || exit 2
cat cert.pem key.pem >both.pem
printf '#!/bin/sh\nexec sed -u "s/^/Server received: /"\n' >reply; chmod +x reply
serve secure --tls --cert cert.pem --key key.pem
serve plain --framing line
ask="printf 'a\nb'"
# These half-close nothing by themselves, so the last line has its newline and they wait for the replies.
slowly="(printf 'a\nb\n'; sleep 1)"
trust="--tls --ca ca.pem"

check "resound client"                    "$ask | $resound client localhost $secure -4 $trust"
has openssl && {
    check "openssl s_client, TLS 1.3"     "$slowly | openssl s_client -quiet -verify_return_error -CAfile ca.pem -connect 127.0.0.1:$secure"
    check "openssl s_client, TLS 1.2"     "$slowly | openssl s_client -quiet -tls1_2 -CAfile ca.pem -connect 127.0.0.1:$secure"
    port=$(free); openssl s_server -quiet -rev -accept "$port" -cert cert.pem -key key.pem >/dev/null 2>&1 & pids+=($!)
    up "$port"
    # It answers each line with the line reversed.
    check "openssl s_server"              "printf 'a :deviecer revreS\nb :deviecer revreS\n' | $resound client 127.0.0.1 $port $trust"
}
has gnutls-cli && check "gnutls-cli"      "$slowly | gnutls-cli --x509cafile ca.pem --port $secure localhost"
has gnutls-serv && {
    port=$(free); gnutls-serv -q --echo --disable-client-cert --x509certfile cert.pem --x509keyfile key.pem -p "$port" >/dev/null 2>&1 & pids+=($!)
    up "$port"
    check "gnutls-serv --echo"            "(printf 'Server received: a\nServer received: b\n'; sleep 1) | $resound client 127.0.0.1 $port $trust"
}
has ncat && {
    check "ncat --ssl"                    "$slowly | ncat --ssl --ssl-verify --ssl-trustfile ca.pem localhost $secure"
    port=$(free); ncat --ssl --ssl-cert cert.pem --ssl-key key.pem -l 127.0.0.1 "$port" -k --sh-exec "sed -u 's/^/Server received: /'" 2>/dev/null & pids+=($!)
    sleep 1
    check "ncat --ssl -l"                 "(printf 'a\nb\n'; sleep 1) | $resound client 127.0.0.1 $port $trust"
}
has socat && {
    check "socat OPENSSL"                 "$slowly | socat - OPENSSL:localhost:$secure,pf=ip4,cafile=ca.pem"
    port=$(free); socat "OPENSSL-LISTEN:$port,bind=127.0.0.1,fork,reuseaddr,verify=0,cert=both.pem" "EXEC:$work/reply" 2>/dev/null & pids+=($!)
    sleep 1
    check "socat OPENSSL-LISTEN"          "(printf 'a\nb\n'; sleep 1) | $resound client 127.0.0.1 $port $trust"
}
has haproxy && {
    ends=$(free); passes=$(free); speaks=$(free)
    cat >haproxy.cfg <<CFG
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen ends                     # TLS ends here
    bind 127.0.0.1:$ends ssl crt $work/both.pem
    server s 127.0.0.1:$plain check
listen passes                   # TLS goes through
    bind 127.0.0.1:$passes
    server s 127.0.0.1:$secure check
listen speaks                   # TLS begins here
    bind 127.0.0.1:$speaks
    server s 127.0.0.1:$secure ssl verify required ca-file $work/ca.pem check
CFG
    haproxy -f haproxy.cfg >haproxy.log 2>&1 & pids+=($!)
    up "$ends"; up "$passes"; up "$speaks"
    check "HAProxy, TLS ends there"       "$ask | $resound client 127.0.0.1 $ends $trust"
    check "HAProxy, TLS passes through"   "$ask | $resound client 127.0.0.1 $passes $trust"
    check "HAProxy, TLS begins there"     "$ask | $resound client 127.0.0.1 $speaks"
}
exit $failed
