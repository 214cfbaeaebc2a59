#!/bin/sh
# Runs in the machine after Docker, but for the boot that prepares its disk; says on the console what happened, as lines that begin with E2E.
say() { echo "E2E $*" > /dev/ttyS0; }
word() { tr ' ' '\n' < /proc/cmdline | sed -n "s/^$1=//p"; }
scenario=$(word scenario)
guests=$(word guests)
boots=$(($(cat /var/lib/boots 2> /dev/null || echo 0) + 1))
echo "$boots" > /var/lib/boots
say "boot $boots scenario $scenario"

finish() { say "$1"; sync; poweroff -f; sleep 60; }

running() { docker ps -q 2> /dev/null | wc -l; }
waits=0
while [ "$(running)" -lt $((guests + 1)) ]; do
    waits=$((waits + 1))
    if [ $waits -gt 60 ] || ! systemctl is-active -q docker; then break; fi
    sleep 2
done
say "running $(running) docker $(systemctl is-active docker) enforcer $(systemctl is-active enforcer) closed $(systemctl is-active enforcer-closed)"
say "table $(nft list table bridge enforcer 2> /dev/null | sed -n 's/.*counter packets \([0-9]*\).*/\1/p' | tr '\n' ' ')"
# Beacons keep calling.
sleep 10
if [ "$scenario" = policed ] && [ "$boots" = 1 ]; then
    say "reset"
    sync
    echo b > /proc/sysrq-trigger
    sleep 60
fi
if [ "$scenario" = frozen ]; then
    kill -STOP "$(systemctl show -p MainPID --value enforcer)"
    waits=0
    # The unit's watchdog, then the next daemon's start.
    while [ $waits -lt 60 ]; do
        waits=$((waits + 1))
        sleep 3
        restarts=$(systemctl show -p NRestarts --value enforcer)
        if [ "$restarts" -gt 0 ] && systemctl is-active -q enforcer; then break; fi
    done
    say "restarts $restarts $(systemctl is-active enforcer)"
fi
answers=0
for container in $(docker ps -q --filter network=guests 2> /dev/null); do
    address=$(docker inspect -f '{{.NetworkSettings.Networks.guests.IPAddress}}' "$container")
    if busybox nc -w 5 "$address" 8888 < /dev/null | grep -q enforcer-beacon; then
        answers=$((answers + 1))
    fi
done
say "answers $answers"
started=$(($(date +%s) - $(cut -d. -f1 /proc/uptime)))
say "heard $(for c in $(docker ps -q --filter network=guests 2> /dev/null); do docker logs --since "$started" "$c"; done 2> /dev/null | grep -c HEARD)"
if [ "$scenario" = policed ] || [ "$scenario" = frozen ]; then
    enforcer status --json > /tmp/status.json
    say "status $?"
    [ "$answers" = "$guests" ] || { journalctl -b -u enforcer --no-pager | tail -30; head -c 1500 /tmp/status.json; } > /dev/ttyS0
fi
finish "done"
