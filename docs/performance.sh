#!/usr/bin/env bash
# Measures the monolithic server with the benchmark harness and writes the figures into performance.md.
#
#   docs/performance.sh [work folder]
#
# The harness is no part of this project. LOGBENCH names its folder or its program; the default is
# ../shared/bench beside the repository. Further settings:
#
#   SIZE   how much to generate (2GiB)          SEED   of what is generated (1)
#   DATA   folder of the data; generated if it is not there (WORK/data)
#   PORT   for the server (13199)               BUDGET for the runs of one query (10s)
#   INTO   the file to write the figures into (docs/performance.md)
#   MIXED  how long to push and query at the same time (2m; 0 leaves it out)
#   RATE   what is pushed meanwhile, in MB/s (half of what pushing alone has reached)
#
# The whole takes some minutes and four times SIZE on disk. Nothing else should run meanwhile; if something
# does, the figures of the machine, which are taken before and after, show how much it took.
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
work=${1:-$(mktemp -d)}
mkdir -p "$work"
work=$(cd "$work" && pwd)
harness=${LOGBENCH:-$repo/../shared/bench}
data=${DATA:-$work/data}
port=${PORT:-13199}
url=http://127.0.0.1:$port
results=$work/results
rm -rf "$results" "$work/server"
mkdir -p "$results" "$work/server"

bench=$harness
queries=
if [ -d "$harness" ]; then
	bench=$work/logbench
	(cd "$harness" && go build -o "$bench" .)
	queries="-queries $harness/queries.json"
fi
(cd "$repo" && go build -o "$work/monolithic" ./examples/monolithic)
[ -d "$data" ] || "$bench" gen -size "${SIZE:-2GiB}" -seed "${SEED:-1}" -out "$data"

server=
stop() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" || true
		server=
	fi
}
trap stop EXIT

# start NAME: starts the server and measures until it is ready and idle.
start() {
	"$work/monolithic" -config.file "$repo/docs/unlimited.yaml" -common.path-prefix "$work/server" \
		-server.http-listen-port "$port" >"$results/$1.log" 2>&1 &
	server=$!
	"$bench" ready -pid "$server" -url "$url/ready" -name server -json "$results/$1.json"
}

"$bench" baseline -dir "$data" -json "$results/baseline-before.json"
start ready-empty
"$bench" push -pid "$server" -addr "$url" -dir "$data" -concurrency 4 -flush "$url/flush" \
	-datadir "$work/server" -name server -json "$results/push.json"
stop
start ready-data
failed=0
# shellcheck disable=SC2086
"$bench" query -pid "$server" -addr "$url" -dir "$data" -datadir "$work/server" -name server \
	-n 5 -budget "${BUDGET:-10s}" $queries -json "$results/query.json" || failed=1
stop
if [ "${MIXED:-2m}" != 0 ]; then
	rate=${RATE:-$(sed -n 's/^ *"mb_per_s": *\([0-9.]*\).*/\1/p' "$results/push.json" | head -1 | awk '{print $1 / 2}')}
	rm -rf "$work/server"
	start ready-mixed
	# shellcheck disable=SC2086
	"$bench" load -pid "$server" -addr "$url" -dir "$data" -clients 8 -rate "$rate" -t "${MIXED:-2m}" \
		-name server $queries -json "$results/load.json"
	stop
fi
"$bench" baseline -dir "$data" -json "$results/baseline-after.json"
(cd "$repo" && go run ./internal/bench "$results" "${INTO:-docs/performance.md}")
echo "figures are in ${INTO:-docs/performance.md}, raw results in $results"
exit "$failed"
