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
#   SOAK   seconds for which to do so once more, to see whether memory, goroutines, files or times grow (0: not at all).
#          The data is pushed over and over, each time as another tenant, so queries find as much at the end as at the
#          beginning. Takes a gigabyte of disk a minute.
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

# start NAME [OPTION…]: starts the server and measures until it is ready and idle.
start() {
	local name=$1
	shift
	"$work/monolithic" -config.file "$repo/docs/unlimited.yaml" -common.path-prefix "$work/server" \
		-server.http-listen-port "$port" "$@" >"$results/$name.log" 2>&1 &
	server=$!
	"$bench" ready -pid "$server" -url "$url/ready" -name server -json "$results/$name.json"
}

# number FILE NAME: the first number of that name in a result file.
number() { sed -n "s/^ *\"$2\": *\([0-9.]*\).*/\1/p" "$1" | head -1; }

# sample: writes down each ten seconds what the server takes: seconds, resident KiB, heap in use, goroutines, open files.
sample() {
	local began=$SECONDS metrics
	while metrics=$(curl -sf "$url/metrics"); do
		echo "$((SECONDS - began)) $(awk '/^VmRSS/ {print $2}' "/proc/$server/status") $(awk '
			/^go_memstats_heap_inuse_bytes / {heap = $2} /^go_goroutines / {goroutines = $2}
			END {printf "%.0f %d", heap, goroutines}' <<<"$metrics") $(find "/proc/$server/fd" -mindepth 1 | wc -l)"
		sleep 10
	done >"$results/soak.txt"
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
rate=${RATE:-$(awk "BEGIN {print $(number "$results/push.json" mb_per_s) / 2}")}
if [ "${MIXED:-2m}" != 0 ]; then
	rm -rf "$work/server"
	start ready-mixed
	# shellcheck disable=SC2086
	"$bench" load -pid "$server" -addr "$url" -dir "$data" -clients 8 -rate "$rate" -t "${MIXED:-2m}" \
		-name server $queries -json "$results/load.json"
	stop
fi
if [ "${SOAK:-0}" != 0 ]; then
	rm -rf "$work/server"
	start ready-soak -auth.enabled=true
	sample &
	# A round pushes alone for two seconds, and ends before the data does.
	round=$(awk "BEGIN {print int($(number "$results/push.json" raw_bytes) / 1e6 / $rate) - 3}")
	end=$((SECONDS + SOAK))
	for ((n = 100; SECONDS < end; n++)); do
		# shellcheck disable=SC2086
		"$bench" load -pid "$server" -addr "$url" -dir "$data" -clients 8 -rate "$rate" -warm 2s -t "${round}s" \
			-tenant "round-$n" -name server $queries -json "$results/soak-$n.json"
	done
	stop
fi
"$bench" baseline -dir "$data" -json "$results/baseline-after.json"
(cd "$repo" && go run ./internal/bench "$results" "${INTO:-docs/performance.md}")
echo "figures are in ${INTO:-docs/performance.md}, raw results in $results"
exit "$failed"
