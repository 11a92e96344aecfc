#!/usr/bin/env bash
# Measures what a merge costs pushes and queries beside it. The monolithic server stores the data of tenant a in many
# segments; then tenant b pushes and queries, by turns while those segments rest and while they are merged.
#
#   docs/merging.sh WORK      LOGBENCH (folder), DATA and PORT as for performance.sh
#
# RATE: MB/s that b pushes (10)   CLIENTS: that query (4)   TIME: of each run (35s)   ROUNDS: of both kinds (2)
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:?a folder to work in}"
work=$(cd "$1" && pwd)
harness=${LOGBENCH:-$repo/../shared/bench}
url=http://127.0.0.1:${PORT:-13199}
(cd "$repo" && go build -o "$work/monolithic" ./examples/monolithic)
(cd "$harness" && go build -o "$work/logbench" .)

server=
stop() {
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	[ -z "$server" ] || wait "$server" || true
	server=
}
trap stop EXIT

# start FLAGS: starts the server on the folder now.
start() {
	"$work/monolithic" -config.file "$repo/docs/unlimited.yaml" -auth.enabled=true -common.path-prefix "$work/now" \
		-server.http-listen-port "${url##*:}" -ingester.handover-window=1s "$@" >"$work/server.log" 2>&1 &
	server=$!
	"$work/logbench" ready -pid "$server" -url "$url/ready" -name server -json "$work/ready.json" >/dev/null
}

rm -rf "$work/now" "$work/stored"
start -compactor.min-age=100h
"$work/logbench" push -pid "$server" -addr "$url" -dir "$DATA" -concurrency 4 -tenant a -flush "$url/flush" \
	-datadir "$work/now" -name server -json "$work/push.json"
stop
mv "$work/now" "$work/stored"
for round in $(seq "${ROUNDS:-2}"); do
	for kind in resting merging; do
		rm -rf "$work/now"
		cp -r "$work/stored" "$work/now"
		age=100h
		[ "$kind" = resting ] || age=2s
		start -compactor.min-age=$age -compactor.compaction-interval=3s
		"$work/logbench" load -pid "$server" -addr "$url" -dir "$DATA" -clients "${CLIENTS:-4}" -rate "${RATE:-10}" \
			-t "${TIME:-35s}" -tenant b -name "$kind" -queries "$harness/queries.json" -json "$work/$kind$round.json"
		stop
	done
done
