#!/bin/sh
# A step of continuous integration: does every line come back, and in time? The exit
# code is the verdict, and report.json stays. From the top of the repository:
#
#     HOST=127.0.0.1 PORT=12345 sh tests/neighbours/gate/step.sh
#
# A try is repeated only if the client was itself late, and late enough to explain the
# p99. So a slow or lossy path fails at once.

host=${HOST:-127.0.0.1}
port=${PORT:-12345}
lines=${LINES_TO_SEND:-10000}
rate=${RATE:-1000}
limit=${LIMIT_MS:-20}

complete=".exit == 0 and .lines.acknowledged == $lines and $lines > 0"
gate=".[0] | $complete and .reply_time_ms.p99 < $limit and .own_delay_ms.max < $limit"
explained=".reply_time_ms.p99 < $limit + .own_delay_ms.max"
busy=".[0] | $complete and .own_delay_ms.max >= $limit and $explained"
shown='.[0] |
    "exit code \(.exit), \(.lines.acknowledged) acknowledged, " +
    "p99 \(.reply_time_ms.p99? // "-") ms, own delay \(.own_delay_ms.max) ms"'

rm -f report.json
# The server may still be starting. A connect alone proves nothing, so wait for a reply.
wait=${WAIT_SECONDS:-30}
echo ready |
    client -q --timeout 2 --retry-for "$wait" --report report.json "$host" "$port" > out || exit 1

for try in 1 2 3; do
    # Wrong usage would leave the report of the try before.
    rm -f report.json
    seq "$lines" | client -q --rate "$rate" --report report.json "$host" "$port" > out
    [ -s report.json ] || break
    jq -rs "$shown" report.json
    jq -es "$gate" report.json > verdict && echo "green" && exit 0
    jq -es "$busy" report.json > verdict || break
    echo "try $try: this machine was too busy to measure"
done
echo "red"
exit 1
