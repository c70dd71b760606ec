#!/usr/bin/env bash
# resound behind HAProxy, and in front of it: the PROXY protocol in both directions, and health checks.
#   tests/interop-proxy.sh [RESOUND]        # by default target/release/resound
# Needs haproxy (2.4 or later) and openssl on the path. Uses loopback only, and leaves nothing behind.
set -euo pipefail
for program in haproxy openssl; do
    command -v $program >/dev/null || { echo "$program is missing: on Debian, apt-get install $program" >&2; exit 2; }
done
haproxy -v | sed -n 1p
resound=$(realpath "${1:-$(dirname "$0")/../target/release/resound}")
folder=$(mktemp -d)
jobs=()
trap 'for job in "${jobs[@]}"; do kill "$job" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$folder"' EXIT

fail() { echo "FAILED: $*" >&2; tail -5 "$folder/server" | sed 's/^/  server: /' >&2; tail -5 "$folder/haproxy" | sed 's/^/  haproxy: /' >&2; exit 1; }

# Waits until a file has a line like this.
until_line() {
    for _ in $(seq 500); do
        grep -qE -- "$2" "$1" 2>/dev/null && return
        sleep 0.02
    done
    fail "no line like: $2"
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=example.org \
    -keyout "$folder/key" -out "$folder/cert" 2>/dev/null
cat "$folder/cert" "$folder/key" >"$folder/pem"
pin=$(openssl x509 -in "$folder/cert" -outform der | sha256sum | cut -d" " -f1)

"$resound" server 127.0.0.1 0 --proxy-protocol require -v >>"$folder/server" 2>&1 &
jobs+=($!)
until_line "$folder/server" "^TCP Server started"
server=$(sed -n 's/^TCP Server started on //p' "$folder/server")

# HAProxy cannot say which port the system chose, so one is tried until it is free.
start() {
    for _ in 1 2 3 4 5; do
        front=$((20000 + RANDOM % 12000)) accepting=$((33000 + RANDOM % 12000)) secure=$((46000 + RANDOM % 12000))
        cat >"$folder/config" <<END
global
    stats socket $folder/admin mode 600
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout client-fin 30s
frontend plain
    bind 127.0.0.1:$front
    unique-id-format id-%pid
    default_backend there
frontend secure
    bind 127.0.0.1:$secure ssl crt $folder/pem ca-file $folder/cert verify optional alpn h2
    default_backend there
frontend accepting
    bind 127.0.0.1:$accepting accept-proxy
    unique-id-format id-%pid
    default_backend there
backend there
    server it $server $1
END
        haproxy -db -f "$folder/config" >"$folder/haproxy" 2>&1 &
        proxy=$!
        if "$resound" client "unix:$folder/admin" --wait --timeout 5s <<<"show info" >/dev/null 2>&1; then
            jobs+=("$proxy")
            return
        fi
        wait "$proxy" 2>/dev/null || true
    done
    fail "HAProxy does not start"
}
stop() { kill "$proxy"; wait "$proxy" 2>/dev/null || true; rm -f "$folder/admin"; }

# Talks through a frontend, and wants both answers and this line on the server's console.
talk() {
    local port=$1 line=$2
    shift 2
    local got
    got=$(printf 'a\nb' | "$resound" client 127.0.0.1 "$port" "$@") || fail "the client's exit code is $?"
    [ "$got" = $'Server received: a\nServer received: b' ] || fail "the answer is: $got"
    until_line "$folder/server" "$line"
}

for how in send-proxy send-proxy-v2 "send-proxy-v2 proxy-v2-options crc32c,unique-id"; do
    : >"$folder/server"
    case $how in
        send-proxy) said="PROXY v1" ;;
        *unique-id) said="PROXY v2, unique id id-[0-9]+" ;;
        *) said="PROXY v2" ;;
    esac
    start "$how"
    talk "$front" "^New connection from \('127.0.0.5', [0-9]+\) via \('127.0.0.1', [0-9]+\), $said$" --source-address 127.0.0.5
    echo "ok: $how"
    # What HAProxy reads of ours is what it says to the server.
    for header in v1,src=192.0.2.7:54321 v2,src=192.0.2.7:54321,crc32c,authority=example.org,alpn=h2,id=x,noop=9 "v2,src=[2001:db8::7]:54321"; do
        : >"$folder/server"
        address=192.0.2.7
        case $header in *2001*) address=2001:db8::7 ;; esac
        talk "$accepting" "^New connection from \('$address', 54321\) via" --send-proxy "$header"
        echo "ok: --send-proxy $header, accept-proxy, $how"
    done
    "$resound" test 127.0.0.1 "$front" >"$folder/test" || fail "$(cat "$folder/test")"
    echo "ok: resound test, $how"
    stop
done

# What HAProxy says of the TLS that it ends.
: >"$folder/server"
start "send-proxy-v2-ssl-cn proxy-v2-options ssl-cipher,authority,crc32c"
talk "$secure" "PROXY v2, authority example.org, ALPN h2, TLSv1.3 TLS_[A-Z0-9_]+ from CN=example.org \(verified\)$" \
    --tls --pin "$pin" --server-name example.org --alpn h2 --cert "$folder/cert" --key "$folder/key"
echo "ok: send-proxy-v2-ssl-cn"
stop

# A health check connects, says LOCAL (or nothing but a header) and leaves.
for how in "send-proxy check" "send-proxy-v2 check" "send-proxy check check-send-proxy inter 50ms" "send-proxy-v2 check check-send-proxy inter 50ms"; do
    : >"$folder/server"
    start "$how"
    until_line "$folder/server" "onnection"
    # A server is taken for up until its first check: what that has said counts.
    for _ in $(seq 100); do
        state=$("$resound" client "unix:$folder/admin" <<<"show stat there 4 -1" | grep ',it,' | cut -d, -f18,37 || true)
        [ "$state" = UP,L4OK ] && break
        sleep 0.05
    done
    [ "$state" = UP,L4OK ] || fail "the server's state is '$state' with $how"
    talk "$front" "^New connection from \('127.0.0.6', " --source-address 127.0.0.6
    echo "ok: $how: $state"
    stop
done
# Whom the rules concern behind a proxy: its clients.
"$resound" server 127.0.0.1 0 --proxy-protocol require --deny 127.0.0.6 >"$folder/choosy" 2>&1 &
jobs+=($!)
until_line "$folder/choosy" "^TCP Server started"
server=$(sed -n 's/^TCP Server started on //p' "$folder/choosy")
start send-proxy-v2
got=$(printf 'a\n' | "$resound" client 127.0.0.1 "$front" --source-address 127.0.0.5)
[ "$got" = "Server received: a" ] || fail "the answer is: $got"
got=$(printf 'a\n' | "$resound" client 127.0.0.1 "$front" --source-address 127.0.0.6 2>/dev/null || true)
[ -z "$got" ] || fail "who is denied gets an answer: $got"
until_line "$folder/choosy" "refused 127.0.0.6: it is not allowed to connect"
echo "ok: --deny behind HAProxy"
stop
echo "HAProxy and resound understand each other"
