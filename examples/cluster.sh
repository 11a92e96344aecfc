#!/usr/bin/env bash
# Runs all microservices on this machine, three ingesters among them, behind HAProxy (Debian: apt-get
# install haproxy). Ctrl-C stops everything.
#
#   examples/cluster.sh            listens on 127.0.0.1:3100, stores under ./loki-cluster
#   PORT=3200 DATA=/srv/loki examples/cluster.sh
#   ALERTMANAGER=http://127.0.0.1:9093 examples/cluster.sh    where alerts go
#   S3=versitygw examples/cluster.sh    segments in an S3 server that it starts
#                                       (go install github.com/versity/versitygw/cmd/versitygw@v1.8.0)
set -euo pipefail
cd "$(dirname "$0")/.."
port=${PORT:-3100}
data=$(mkdir -p "${DATA:-loki-cluster}" && cd "${DATA:-loki-cluster}" && pwd)
bin=$data/bin
mkdir -p "$bin" "$data/segments"
haproxy=$(command -v haproxy || echo /usr/sbin/haproxy)
[ -x "$haproxy" ] || { echo 'haproxy is missing: apt-get install haproxy' >&2; exit 1; }

pids=()
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
	"$S3" --access loki --secret loki-secret --port 127.0.0.1:17070 posix "$data/s3" >"$data/s3.log" 2>&1 &
	pids+=($!)
	storage=(-common.storage.s3.buckets=loki -common.storage.s3.endpoint=127.0.0.1:17070 -common.storage.s3.insecure
		-common.storage.s3.force-path-style -common.storage.s3.region=us-east-1
		-common.storage.s3.access-key-id=loki -common.storage.s3.secret-access-key=loki-secret)
fi

n=0
start() { # name of the process, component, further flags
	local name=$1 component=$2
	shift 2
	"$bin/$component" -common.path-prefix="$data/$name" -server.http-listen-address=127.0.0.1 \
		-server.http-listen-port=$((13100 + n)) -server.grpc-listen-address=127.0.0.1 -server.grpc-listen-port=$((19100 + n)) \
		-common.storage.ring.instance-id="$name" "${storage[@]}" "$@" >"$data/$name.log" 2>&1 &
	pids+=($!)
	n=$((n + 1))
}
gossip() { echo "-common.storage.ring.store=memberlist -replication-factor=3 -memberlist.bind-addr=127.0.0.1 -memberlist.bind-port=$((17900 + n)) -memberlist.join=127.0.0.1:17900"; }
index=-tsdb.shipper.index-gateway-client.server-address=127.0.0.1:19103
# shellcheck disable=SC2046
{
	start ingester-1 ingester $(gossip)
	start ingester-2 ingester $(gossip)
	start ingester-3 ingester $(gossip)
	start index-gateway index-gateway
	start query-scheduler query-scheduler
	start querier-1 querier $(gossip) "$index" -querier.scheduler-address=127.0.0.1:19104
	start querier-2 querier $(gossip) "$index" -querier.scheduler-address=127.0.0.1:19104
	start query-frontend-1 query-frontend -frontend.scheduler-address=127.0.0.1:19104 -frontend.querier-address=127.0.0.1:19105,127.0.0.1:19106
	start query-frontend-2 query-frontend -frontend.scheduler-address=127.0.0.1:19104 -frontend.querier-address=127.0.0.1:19105,127.0.0.1:19106
	start distributor-1 distributor $(gossip)
	start distributor-2 distributor $(gossip)
	start compactor compactor $(gossip)
	start ruler ruler $(gossip) -ruler.evaluation.mode=remote -ruler.evaluation.query-frontend.address=127.0.0.1:19107,127.0.0.1:19108 \
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
    server d1 127.0.0.1:13109
    server d2 127.0.0.1:13110
backend frontends
    balance leastconn
    server f1 127.0.0.1:13107
    server f2 127.0.0.1:13108
backend compactors
    server c1 127.0.0.1:13111
backend rulers
    server r1 127.0.0.1:13112
HAPROXY
"$haproxy" -db -f "$data/haproxy.cfg" >"$data/haproxy.log" 2>&1 &
pids+=($!)

for p in $(seq 13100 $((13100 + n - 1))); do
	for _ in $(seq 300); do
		curl -fs "http://127.0.0.1:$p/ready" >/dev/null 2>&1 && break
		sleep 0.1
	done
done
for _ in $(seq 50); do # HAProxy asks each of them once before
	curl -fs "http://127.0.0.1:$port/ready" >/dev/null 2>&1 && break
	sleep 0.1
done
echo "Listening on http://127.0.0.1:$port; logs of the $n processes are in $data/*.log; the ring: http://127.0.0.1:$port/ring"
wait -n || true
echo 'a process has ended; see its log. Stopping.' >&2
exit 1
