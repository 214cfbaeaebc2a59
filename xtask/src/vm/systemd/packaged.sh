#!/bin/bash
# Runs in the machine that has Docker and guests, and not enforcer: installs the package, does to it what happens to
# packages and daemons, and purges it. Each step is announced on the uplink, so that the capture outside tells what left
# during which; and on the console, with what the machine says of itself, as lines that begin with E2E.
say() { echo "E2E $*" > /dev/ttyS0; }
step() {
    echo "enforcer-step $1;" > /dev/udp/203.0.113.9/47080
    say "step $1 at $(cut -d. -f1 /proc/uptime) s"
}
finish() { say "$*"; sync; poweroff -f; sleep 60; }
fail() {
    { grep -A 12 '"reasons"' "/tmp/$1" || cat "/tmp/$1"; systemctl --no-pager -n 0 status enforcer-closed enforcer; journalctl -b --no-pager -o cat -u enforcer-closed -u enforcer; } 2>&1 |
        tail -n 90 > /dev/ttyS0
    finish "failed $1"
}
# Longer than beacons and visitors pause.
settle() { sleep 8; }
property() { systemctl show -p "$1" --value "$2"; }
guests=$(tr ' ' '\n' < /proc/cmdline | sed -n 's/^guests=//p')
boots=$(($(cat /var/lib/boots 2> /dev/null || echo 0) + 1))
echo "$boots" > /var/lib/boots

wait_for() {
    waits=0
    # shellcheck disable=SC2034 # in what is evaluated
    what=$1
    until eval "$2"; do
        waits=$((waits + 1))
        [ $waits -lt 90 ] || fail "$1"
        sleep 1
    done
}
# The daemon measures that it enforces; and what tells whether containers are those that were there.
measure() {
    settle
    # An engine under emulation may be slow to answer, which status says.
    wait_for "status-$1" 'enforcer status --json > /tmp/$what'
    say "status-$1 version $(dpkg-query -W -f '${Version}' enforcer) docker $(property ActiveEnterTimestampMonotonic docker)"
}
# What doctor says of one thing, and how to mend it.
grade() { enforcer doctor | sed -n "s/^\([a-z]*\) *$1  .*/\1/p"; }
mend() { enforcer doctor | sed -n "/^[a-z]* *$1  /,/mend:/s/.*mend: //p" | sed 's/  *#.*//'; }
# A clock takes its time, and so does a daemon under emulation.
mended() { # CHECK BEFORE HOW
    check=$1
    wait_for "mend-$1" '[ "$(grade "$check")" = ok ]'
    say "mend-$1 $2 ok $3"
}
# Spoils something, and does what doctor says.
mends() {
    eval "$2" > /tmp/spoilt 2>&1
    before=$(grade "$1")
    how=$(mend "$1")
    eval "$how" > /tmp/mended 2>&1 || cat /tmp/mended > /dev/ttyS0
    mended "$1" "$before" "$how"
}
# Guests start all the time, in every gap that there might be.
load() { while :; do docker restart -t 0 guest-1 > /dev/null 2>&1; done; }

again() {
    load &
    # A frame more than the old daemon's end and the new one's start.
    step killed
    systemctl kill -s KILL enforcer
    wait_for killed '[ "$(property NRestarts enforcer)" = 1 ] && systemctl is-active -q enforcer'
    measure killed

    step frozen
    systemctl kill -s STOP enforcer
    wait_for frozen '[ "$(property NRestarts enforcer)" = 2 ] && systemctl is-active -q enforcer'
    measure frozen

    step upgraded
    dpkg -i /opt/enforcer_2.deb > /tmp/upgrade 2>&1 || fail upgrade
    measure upgraded
}

if [ "$boots" = 1 ]; then
    tar -C /opt -xf /dev/vdb
    docker run -d --restart always --network guests --name legal -p 8888:8888 guest legal 203.0.113.10:47079 > /dev/null
    step before
    settle

    step installing
    dpkg -i /opt/enforcer_1.deb > /tmp/install 2>&1 || fail install
    grep -q 'systemctl enable --now enforcer-closed enforcer' /tmp/install || fail install
    cp /opt/enforcer.toml /etc/enforcer/enforcer.toml
    systemctl enable --now enforcer-closed enforcer > /tmp/enable 2>&1 || fail enable
    step policed
    measure policed

    step doctor
    # The disk is made without it, and nobody outside would tell the time.
    systemctl unmask -q systemd-timesyncd
    printf '[Time]\nNTP=127.0.0.1\n' > /etc/systemd/timesyncd.conf
    perl /opt/ntp.pl &
    mends clock true
    mends boot 'systemctl disable enforcer.service'
    mends daemon 'systemctl stop enforcer'
    dropin=/run/systemd/system/enforcer.service.d
    mkdir -p $dropin
    mends_by_edit() { # CHECK SETTING
        spoilt=$dropin/$1.conf
        printf '[Service]\n%s\n' "$2" > $spoilt
        systemctl daemon-reload
        systemctl restart enforcer
        before=$(grade "$1")
        # "set KEY=VALUE (systemctl edit enforcer) and systemctl restart enforcer"
        how=$(mend "$1")
        printf '[Service]\n%s\n' "$(expr "$how" : 'set \([^ ]*\) (systemctl edit')" > $spoilt
        systemctl daemon-reload
        systemctl restart enforcer
        mended "$1" "$before" "$how"
        rm $spoilt
        systemctl daemon-reload
    }
    mends_by_edit watchdog WatchdogSec=0
    mends_by_edit open_files LimitNOFILE=1024
    wait_for doctor 'enforcer doctor > /tmp/doctor; grep -q " ok, 0 warn, 0 fail" /tmp/doctor'
    say "doctor $(tail -n 1 /tmp/doctor)"

    again

    # F27: nothing is loaded any more until the next boot.
    step locked
    echo confidentiality > /sys/kernel/security/lockdown
    systemctl restart enforcer > /dev/null 2>&1
    say "locked $(property ExecMainStatus enforcer) $(grade lockdown) $(journalctl -b -u enforcer --no-pager -o cat | grep -ci lockdown)"
    settle

    step rebooting
    sync
    systemctl reboot
    sleep 600
fi

wait_for reboot '[ "$(docker ps -q | wc -l)" -ge $((guests + 2)) ] && systemctl is-active -q enforcer'
step rebooted
measure rebooted
say "rebooted $(grade lockdown) $(property NRestarts enforcer)"

step purging
dpkg --purge enforcer > /tmp/purge 2>&1 || fail purge
step purged
settle
say "purged $(property ActiveState enforcer-closed) docker $(property ActiveState docker) $(tr '\n' ' ' < /tmp/purge)"

# In the same boot. What closes networks does it by itself, and does not take an earlier one at its word.
step returning
dpkg -i /opt/enforcer_2.deb > /tmp/install 2>&1 || fail install
cp /opt/enforcer.toml /etc/enforcer/enforcer.toml
systemctl enable --now enforcer-closed > /dev/null 2>&1
say "reclosed $(nft list table bridge enforcer 2> /dev/null | grep -c br-guests)"
step closed
settle
step opening
systemctl enable --now enforcer > /dev/null 2>&1
step returned
measure returned
finish "done"
