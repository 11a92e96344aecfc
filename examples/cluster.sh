#!/usr/bin/env bash
# Runs all microservices on this machine, three ingesters among them, behind HAProxy (Debian: apt-get
# install haproxy). Ctrl-C stops everything.
#
#   examples/cluster.sh            listens on 127.0.0.1:3100, stores under ./loki-cluster
#   PORT=4100 DATA=/srv/loki examples/cluster.sh    the processes take the ports from PORT+100 to PORT+160
#   ALERTMANAGER=http://127.0.0.1:9093 examples/cluster.sh    where alerts go
#   S3=versitygw examples/cluster.sh    segments in an S3 server that it starts
#                                       (go install github.com/versity/versitygw/cmd/versitygw@v1.8.0)
set -euo pipefail
cd "$(dirname "$0")/.."
port=${PORT:-3100}
http=$((port + 100)) grpc=$((port + 120)) gossip=$((port + 140)) # of the first process
data=$(mkdir -p "${DATA:-loki-cluster}" && cd "${DATA:-loki-cluster}" && pwd)
bin=$data/bin
mkdir -p "$bin" "$data/segments"
haproxy=$(command -v haproxy || echo /usr/sbin/haproxy)
[ -x "$haproxy" ] || { echo 'haproxy is missing: apt-get install haproxy' >&2; exit 1; }

pids=() names=() started=()
stop() {
	trap - EXIT INT TERM
	# Those who take requests first, those who keep lines last.
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do kill -TERM "${pids[i]}" 2>/dev/null || true; done
	wait || true
}
trap stop EXIT
trap 'exit 130' INT TERM

for c in distributor ingester querier query-frontend query-scheduler index-gateway compactor ruler; do
	go build -o "$bin/$c" "./examples/microservices/$c"
done

storage=(-local.chunk-directory "$data/segments")
if [ -n "${S3:-}" ]; then
	mkdir -p "$data/s3/loki"
	"$S3" --access loki --secret loki-secret --port 127.0.0.1:$((port + 160)) posix "$data/s3" >"$data/s3.log" 2>&1 &
	pids+=($!) names+=(s3)
	storage=(-common.storage.s3.buckets=loki -common.storage.s3.endpoint=127.0.0.1:$((port + 160)) -common.storage.s3.insecure
		-common.storage.s3.force-path-style -common.storage.s3.region=us-east-1
		-common.storage.s3.access-key-id=loki -common.storage.s3.secret-access-key=loki-secret)
fi

n=0
start() { # name of the process, component, further flags
	local name=$1 component=$2
	shift 2
	"$bin/$component" -common.path-prefix="$data/$name" -server.http-listen-address=127.0.0.1 \
		-server.http-listen-port=$((http + n)) -server.grpc-listen-address=127.0.0.1 -server.grpc-listen-port=$((grpc + n)) \
		-common.storage.ring.instance-id="$name" "${storage[@]}" "$@" >"$data/$name.log" 2>&1 &
	pids+=($!) names+=("$name") started+=("$name=$((http + n))")
	n=$((n + 1))
}
members() { echo "-common.storage.ring.store=memberlist -replication-factor=3 -memberlist.bind-addr=127.0.0.1 -memberlist.bind-port=$((gossip + n)) -memberlist.join=127.0.0.1:$gossip -memberlist.join=127.0.0.1:$((gossip + 1))"; }
index=-tsdb.shipper.index-gateway-client.server-address=127.0.0.1:$((grpc + 3))
# shellcheck disable=SC2046
{
	start ingester-1 ingester $(members)
	start ingester-2 ingester $(members)
	start ingester-3 ingester $(members)
	start index-gateway index-gateway
	start query-scheduler query-scheduler
	start querier-1 querier $(members) "$index" -querier.scheduler-address=127.0.0.1:$((grpc + 4))
	start querier-2 querier $(members) "$index" -querier.scheduler-address=127.0.0.1:$((grpc + 4))
	start query-frontend-1 query-frontend -frontend.scheduler-address=127.0.0.1:$((grpc + 4)) -frontend.querier-address=127.0.0.1:$((grpc + 5)),127.0.0.1:$((grpc + 6))
	start query-frontend-2 query-frontend -frontend.scheduler-address=127.0.0.1:$((grpc + 4)) -frontend.querier-address=127.0.0.1:$((grpc + 5)),127.0.0.1:$((grpc + 6))
	start distributor-1 distributor $(members)
	start distributor-2 distributor $(members)
	start compactor compactor $(members)
	start ruler ruler $(members) -ruler.evaluation.mode=remote -ruler.evaluation.query-frontend.address=127.0.0.1:$((grpc + 7)),127.0.0.1:$((grpc + 8)) \
		-ruler.alertmanager-url="${ALERTMANAGER:-}"
}

cat >"$data/haproxy.cfg" <<HAPROXY
global
    maxconn 2000
defaults
    mode http
    timeout connect 2s
    timeout client 5m
    timeout server 5m
    timeout tunnel 1h
    option redispatch
    retries 3
    retry-on conn-failure empty-response 503
    option httpchk GET /ready
    default-server inter 1s fall 2 rise 1 check
frontend loki
    bind 127.0.0.1:$port
    acl write path /loki/api/v1/push /api/prom/push /otlp/v1/logs
    acl ring path /ring /distributor/ring /memberlist
    acl stored path /loki/api/v1/delete /loki/api/v1/cache/generation_numbers /loki/api/v1/retention/preview /loki/api/v1/segments/damaged /compactor/ring
    acl rules path_beg /loki/api/v1/rules /api/prom/rules /prometheus/api/v1/ /ruler/ring
    use_backend distributors if write or ring
    use_backend compactors if stored
    use_backend rulers if rules
    default_backend frontends
backend distributors
    balance leastconn
    server d1 127.0.0.1:$((http + 9))
    server d2 127.0.0.1:$((http + 10))
backend frontends
    balance leastconn
    server f1 127.0.0.1:$((http + 7))
    server f2 127.0.0.1:$((http + 8))
backend compactors
    server c1 127.0.0.1:$((http + 11))
backend rulers
    server r1 127.0.0.1:$((http + 12))
HAPROXY
"$haproxy" -db -f "$data/haproxy.cfg" >"$data/haproxy.log" 2>&1 &
pids+=($!) names+=(haproxy)

alive() { # ends the script if a process has ended
	local i
	for i in "${!pids[@]}"; do
		kill -0 "${pids[i]}" 2>/dev/null && continue
		echo "${names[i]} has ended; its log is $data/${names[i]}.log:" >&2
		tail -n 3 "$data/${names[i]}.log" >&2
		exit 1
	done
}
ready() { # URL, name of the process
	for _ in $(seq 300); do
		curl -fs "$1/ready" >/dev/null 2>&1 && return
		alive
		sleep 0.1
	done
	echo "$2 is not ready after 30 s: $(curl -s "$1/ready"); its log is $data/$2.log" >&2
	exit 1
}
for p in "${started[@]}"; do
	ready "http://127.0.0.1:${p#*=}" "${p%=*}"
done
ready "http://127.0.0.1:$port" haproxy # it asks each of them once before
echo "Listening on http://127.0.0.1:$port; logs of the $n processes are in $data/*.log; the ring: http://127.0.0.1:$port/ring"
while alive; do
	sleep 1 & # a signal ends wait, but not sleep
	wait $! || true
done
