#!/usr/bin/env bash
# Measures the monolithic server with the benchmark harness and writes the figures into performance.md.
#
#   docs/performance.sh [work folder]
#
# The harness is no part of this project. LOGBENCH names its folder or its program; the default is
# ../shared/bench beside the repository. Further settings:
#
#   SIZE    how much to generate (2GiB)          SEED   of what is generated (1)
#   DATA    folder of the data; generated if it is not there (WORK/data)
#   QUERIES the harness' queries.json, if LOGBENCH is a program
#   PORT    for the server (13199)               BUDGET for the runs of one query (10s)
#   INTO    the file to write the figures into (docs/performance.md)
#   MERGE   0: do not merge the segments and query once more
#   PROFILE seconds for which queries of each kind are asked while a profile is taken (5; 0: no profiles at all)
#   STREAMS numbers of streams in which to push and query the same million lines (500 100000 1000000; empty: not at all)
#   OPERATORS 0: do not run the benchmarks of operators
#   MIXED   how long to push and query at the same time (2m; 0 leaves it out)
#   RATE    what is pushed meanwhile, in MB/s (half of what pushing alone has reached)
#   SOAK    seconds for which to do so once more, to see whether memory, goroutines, files or times grow (0: not at all).
#           The data is pushed over and over, each time as another tenant, so queries find as much at the end as at the
#           beginning. Takes a gigabyte of disk a minute.
#
# The whole takes some ten minutes and twice SIZE on disk, on Linux. Nothing else should run meanwhile; if something
# does, the figures of the machine, which are taken before and after, show how much it took.
#
# It ends with 0 if all went well, 1 if an answer was wrong (the figures are written all the same, and say which), 2 if it
# could not measure (nothing is written), 130 if it was interrupted. Whatever it does, no server is left behind.
set -Eeuo pipefail

fail() {
	echo "performance.sh: $*" >&2
	exit 2
}

repo=$(cd "$(dirname "$0")/.." && pwd)
harness=${LOGBENCH:-$repo/../shared/bench}
port=${PORT:-13199}
url=http://127.0.0.1:$port
into=${INTO:-$repo/docs/performance.md}

# All that can be wrong is looked at before anything is begun.
for tool in go curl awk df du; do
	command -v "$tool" >/dev/null || fail "$tool is missing"
done
[ -r /proc/self/stat ] || fail 'there is no /proc here, from which processor time and memory are read: this needs Linux'
[ -e "$harness" ] || fail "the harness is not at $harness: set LOGBENCH to its folder or its program"
[ -d "$harness" ] || [ -x "$harness" ] || fail "$harness is neither a folder nor a program"
[ -w "$into" ] || fail "cannot write $into"
into=$(cd "$(dirname "$into")" && pwd)/$(basename "$into")
(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && fail "port $port is taken: set PORT to a free one"

work=${1:-$(mktemp -d)}
mkdir -p "$work"
work=$(cd "$work" && pwd)
# Folders in it are emptied, so it must not be somebody else's.
other=$(find "$work" -mindepth 1 -maxdepth 1 ! -name results ! -name server ! -name data ! -name data.part ! -name monolithic ! -name streams \
	! -name logbench -print -quit)
[ -z "$other" ] || fail "$work has $(basename "$other") in it, which is not from here: give a folder of its own"
data=${DATA:-$work/data}
results=$work/results

# Data, log and segments of the largest step, in KiB.
if [ -d "$data" ]; then
	need=$(($(du -sk "$data" | cut -f1) * 4))
else
	size=${SIZE:-2GiB}
	case $size in
	[0-9]*GiB) need=$(awk "BEGIN {print int(${size%GiB} * 2 * 1024 * 1024)}") ;;
	[0-9]*MiB) need=$(awk "BEGIN {print int(${size%MiB} * 2 * 1024)}") ;;
	*) fail "SIZE is $size: give a number of MiB or GiB" ;;
	esac
fi
soak=$((${SOAK:-0} * 800000 / 60 + 500000)) # the steps use the same room, one after the other
[ "${SOAK:-0}" = 0 ] || [ "$soak" -le "$need" ] || need=$soak
free=$(df -Pk "$work" | awk 'NR == 2 {print $4}')
[ ! -d "$work/server" ] || free=$((free + $(du -sk "$work/server" | cut -f1))) # of a run before
[ "$free" -ge "$need" ] || fail "$work has $((free >> 10)) MiB of free disk, $((need >> 10)) are needed"

rm -rf "$results" "$work/server"
mkdir -p "$results" "$work/server"

server=
stop() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" || true
		server=
	fi
}
ended() {
	local status=$?
	trap - ERR
	stop
	# shellcheck disable=SC2046 # a list
	kill $(jobs -p) 2>/dev/null || true
	case $status in
	0 | 1 | 2 | 130) ;;
	*)
		echo "performance.sh: a step failed with status $status; nothing was written into $into. What there is of results and logs is in $results." >&2
		df -Ph "$work" | awk 'NR == 2 {print "performance.sh: " $4 " of the disk are free" > "/dev/stderr"}'
		exit 2
		;;
	esac
}
trap ended EXIT
trap 'exit 130' INT TERM
trap 'exit 3' ERR # of whatever the harness or the server ends with

bench=$harness
queries=${QUERIES:+-queries $QUERIES}
if [ -d "$harness" ]; then
	bench=$work/logbench
	(cd "$harness" && go build -o "$bench" .)
	queries="-queries $harness/queries.json"
fi
(cd "$repo" && go build -o "$work/monolithic" ./examples/monolithic && go build -o "$work/streams" ./internal/bench/streams)
if [ ! -d "$data" ]; then
	rm -rf "$data.part" # of a run that was interrupted
	"$bench" gen -size "${SIZE:-2GiB}" -seed "${SEED:-1}" -out "$data.part"
	mv "$data.part" "$data"
fi

# launch NAME SETTLE [OPTION…]: starts the server and measures until it is ready and, after the time to settle, idle.
launch() {
	local name=$1 settle=$2 ready
	shift 2
	"$work/monolithic" -config.file "$repo/docs/unlimited.yaml" -common.path-prefix "$work/server" \
		-server.http-listen-address 127.0.0.1 -server.http-listen-port "$port" "$@" >"$results/$name.log" 2>&1 &
	server=$!
	"$bench" ready -pid "$server" -url "$url/ready" -settle "$settle" -name server -json "$results/$name.json" &
	ready=$!
	wait -n "$server" "$ready" || true # whichever ends first
	if ! kill -0 "$server" 2>/dev/null; then
		kill "$ready" 2>/dev/null || true
		server=
		tail -n 5 "$results/$name.log" >&2
		fail "the server ended when it was started: see $results/$name.log"
	fi
	wait "$ready" || fail "the server is not ready: see $results/$name.log"
}
start() { launch "$1" 20s "${@:2}"; }
quick() { launch "$1" 1s "${@:2}"; } # where memory at rest does not matter

# number FILE NAME: the first number of that name in a result file.
number() { sed -n "s/^ *\"$2\": *\([0-9.]*\).*/\1/p" "$1" | head -1; }

# ask RESULT REPEATS BUDGET: runs all queries, and notes it if an answer is wrong.
failed=0
ask() {
	# shellcheck disable=SC2086
	"$bench" query -pid "$server" -addr "$url" -dir "$data" -datadir "$work/server" -name server \
		-n "$2" -budget "$3" $queries -json "$results/$1.json" || {
		kill -0 "$server" || fail "the server has ended: see its log in $results"
		[ -s "$results/$1.json" ] || fail "the queries of $1 could not be run"
		failed=1
	}
}

# profiled FILE SECONDS COMMAND…: runs the command while a profile of the server is taken.
profiled() {
	local file=$1 seconds=$2 taking
	shift 2
	curl -sf -o "$results/$file" "$url/debug/pprof/profile?seconds=$seconds" &
	taking=$!
	"$@" >/dev/null
	wait "$taking"
}

# segments: the names of what the object store has, or what it is being written into.
segments() {
	find "$work/server/store" -type f | sort || true # some go while it looks
}

# passes: how many the compactor has made.
passes() {
	curl -sf "$url/metrics" | sed -n 's/^loki_boltdb_shipper_compact_tables_operation_total{status="success"} //p'
}

# merged: waits until a few passes have found nothing to merge, and nothing that was replaced and is to go.
merged() {
	local before='not looked at yet' now made since=0 tries
	for ((tries = 0; tries < 400; tries++)); do
		sleep 2
		now=$(segments) made=$(passes)
		if [ "$now" != "$before" ]; then
			before=$now since=${made:-0}
		elif [ "${made:-0}" -ge $((since + 4)) ]; then
			return
		fi
	done
	fail 'merging does not come to an end'
}

# sample: writes down each ten seconds what the server takes: seconds, resident KiB, heap in use, goroutines, open files.
sample() {
	local began=$SECONDS metrics memory
	while metrics=$(curl -sf "$url/metrics"); do
		memory=$(awk '/^VmRSS/ {print $2}' "/proc/$server/status" 2>/dev/null) || break
		[ -n "$memory" ] || break # it has just ended
		echo "$((SECONDS - began)) $memory $(awk '
			/^go_memstats_heap_inuse_bytes / {heap = $2} /^go_goroutines / {goroutines = $2}
			END {printf "%.0f %d", heap, goroutines}' <<<"$metrics") $(find "/proc/$server/fd" -mindepth 1 2>/dev/null | wc -l)"
		sleep 10
	done >"$results/soak.txt"
}

push=("$bench" push -addr "$url" -dir "$data" -concurrency 4 -flush "$url/flush" -datadir "$work/server" -name server)

"$bench" baseline -dir "$data" -json "$results/baseline-before.json"
start ready-empty
"${push[@]}" -pid "$server" -json "$results/push.json"
stop
"$work/streams" -lines 0 -store "$work/server/store" >"$results/sections.txt"
start ready-data
ask query 5 "${BUDGET:-10s}"
if [ "${PROFILE:-5}" != 0 ]; then
	go run -C "$repo" ./internal/bench -profiles >"$results/profiles.txt"
	while read -r file names <&3; do
		# shellcheck disable=SC2086
		profiled "$file" "${PROFILE:-5}" timeout "${PROFILE:-5}" "$bench" query -pid "$server" -addr "$url" -dir "$data" \
			-name server -n 1000000 -budget 0.5s -only "$names" $queries || true # timeout's status
	done 3<"$results/profiles.txt"
fi
stop
if [ "${MERGE:-1}" != 0 ]; then
	quick ready-merging -ingester.handover-window=1s -compactor.min-age=2s -compactor.compaction-interval=3s \
		-compactor.retention-delete-delay=1s -compactor.bytes-per-second=1GB -compactor.min-share=1
	merged
	stop
	"$work/streams" -lines 0 -store "$work/server/store" >"$results/sections-merged.txt"
	start ready-merged
	ask query-merged 3 "${BUDGET:-5s}"
	stop
fi
if [ "${PROFILE:-5}" != 0 ]; then
	rm -rf "$work/server"
	quick ready-profile
	profiled push.pprof "$(awk "BEGIN {print int($(number "$results/push.json" raw_bytes) / 1e6 / $(number "$results/push.json" mb_per_s)) + 8}")" \
		"${push[@]}" -pid "$server" -still 3s
	stop
fi
rate=${RATE:-$(awk "BEGIN {print $(number "$results/push.json" mb_per_s) / 2}")}
if [ "${MIXED:-2m}" != 0 ]; then
	rm -rf "$work/server"
	quick ready-mixed
	# shellcheck disable=SC2086
	"$bench" load -pid "$server" -addr "$url" -dir "$data" -clients 8 -rate "$rate" -t "${MIXED:-2m}" \
		-name server $queries -json "$results/load.json"
	stop
fi
if [ "${SOAK:-0}" != 0 ]; then
	rm -rf "$work/server"
	quick ready-soak -auth.enabled=true
	sample &
	# A round pushes alone for two seconds, and ends before the data does.
	round=$(awk "BEGIN {print int($(number "$results/push.json" raw_bytes) / 1e6 / $rate) - 3}")
	[ "$round" -gt 0 ] || fail "the data is pushed within 3 s: too little for SOAK"
	end=$((SECONDS + SOAK))
	for ((n = 100; SECONDS < end; n++)); do
		# shellcheck disable=SC2086
		"$bench" load -pid "$server" -addr "$url" -dir "$data" -clients 8 -rate "$rate" -warm 2s -t "${round}s" \
			-tenant "round-$n" -name server $queries -json "$results/soak-$n.json"
	done
	stop
fi
for n in ${STREAMS-500 100000 1000000}; do
	rm -rf "$work/server"
	quick "ready-streams-$n"
	"$work/streams" -addr "$url" -pid "$server" -streams "$n" -json "$results/streams-$n.json"
	stop
done
rm -rf "$work/server"
if [ "${OPERATORS:-1}" != 0 ]; then
	go test -C "$repo" -run='^$' -bench=Operators -benchtime=200ms -cpu=1 ./logql >"$results/operators.txt"
fi
"$bench" baseline -dir "$data" -json "$results/baseline-after.json"
(cd "$repo" && go run ./internal/bench "$results" "$into")
echo "figures are in $into, raw results in $results"
if [ "$failed" != 0 ]; then
	echo 'performance.sh: there were wrong answers' >&2
fi
exit "$failed"
