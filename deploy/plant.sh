#!/bin/sh
# A plant on one machine. Needs Docker with its compose plugin, and nothing else.
#
#   plant.sh up       build the image, make keys, lay out images, start everything, wait for it
#   plant.sh run      one federated run; SET="key=value ..." changes settings of the run
#   plant.sh line     start the services at the line, once a run has delivered a model; makes their
#                     certificates and tokens; S="engine-assembly" chooses stations
#   plant.sh status   the containers, then stations and runs as the SuperLink knows them
#   plant.sh logs     what the containers print; S="engine-assembly gateway" chooses some
#   plant.sh down     stop; keys, images, runs and the stations' caches stay
#   plant.sh clean    stop and remove all of it, except the runs and images of your own
#
# Settings come from the environment, else from an earlier `up` (kept in .env), else as here:
#
#   PLANT_DATA             images, one folder per station; without it a drawn set is made
#   PLANT_WEIGHTS          folder of torchvision's weight files          (deploy/weights)
#   PLANT_STATION_CPUS     cores of each station                         (a fifth of this machine's)
#   PLANT_STATION_MEMORY   memory limit of each station                  (4g)
#   PLANT_SERVER_MEMORY    memory limit of SuperLink and of executor     (4g)
#   PLANT_LINE_MEMORY      memory limit of each service at the line      (4g)
#   PLANT_LINE_ADDRESS     address of this machine at which they are reached, ports 8601 to 8605
#                                                                        (127.0.0.1)
#   PLANT_LINE_HOSTS       host names and addresses for their certificates, besides localhost
#   PLANT_UID, PLANT_GID   who the containers run as       (you; 10001 if you are root)
#   PLANT_IMAGE            an image that is there already                (is built)
#   PLANT_IMAGES, PLANT_SIZE   training images of a part and their size, of the drawn set (20, 128)
#   PLANT_HOME             folder of keys, data, runs and .env           (this one)
#   PLANT_PROJECT          Compose's name of the plant                   (fedpatchcore-plant)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
home=${PLANT_HOME:-$here}
project=${PLANT_PROJECT:-fedpatchcore-plant}
stations="engine-assembly underbody-line fastener-station clip-inspection quality-control"
kept="PLANT_IMAGE PLANT_UID PLANT_GID PLANT_KEYS PLANT_RUNS PLANT_DATA PLANT_WEIGHTS
PLANT_STATION_CPUS PLANT_STATION_THREADS PLANT_STATION_MEMORY PLANT_SERVER_CPUS
PLANT_SERVER_THREADS PLANT_SERVER_MEMORY PLANT_GATEWAY_CPUS PLANT_GATEWAY_MEMORY PLANT_TMP_SIZE
PLANT_LINE_MEMORY PLANT_LINE_ADDRESS PLANT_LINE_HOSTS"
# What a drawn set is good for is to see everything work, within minutes on two cores.
drawn="backbone=efficientnet_lite0 global-bank-size=1000"

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit "${status:-2}"; }

compose() {
    docker compose --project-name "$project" --file "$here/compose.yaml" \
        --env-file "$home/.env" "$@"
}

# Whatever was started, of every profile.
all() {
    what=$1
    shift
    compose --profile line --profile admin "$what" "$@"
}

# One command of the image on folders of this machine, as the user who owns them, without network.
in_image() {
    folder=$1
    shift
    docker run --rm --init --network none --read-only --tmpfs /tmp --cap-drop ALL \
        --security-opt no-new-privileges --user "$PLANT_UID:$PLANT_GID" \
        --volume "$folder:/out" "$PLANT_IMAGE" "$@"
}

own_folder() {
    mkdir -p "$1"
    if [ "$(id -u)" = 0 ]; then chown "$PLANT_UID:$PLANT_GID" "$1"; fi
}

need_docker() {
    docker version >/dev/null 2>&1 ||
        fail "no Docker engine answers; install or start it, and let this user reach it"
    docker compose version >/dev/null 2>&1 ||
        fail "this Docker has no 'docker compose'; install its compose plugin"
}

need_plant() {
    [ -f "$home/.env" ] || fail "there is no plant in $home; start one with: make plant-up"
}

# Settings given now go before those of an earlier `up`.
recall() {
    given=
    for name in $kept; do
        eval "set_now=\${$name+yes}"
        [ -z "$set_now" ] || given="$given $name='$(eval "printf %s \"\$$name\"")'"
    done
    if [ -f "$home/.env" ]; then . "$home/.env"; fi
    eval "$given"
}

remember() {
    for name in $kept; do
        eval "value=\${$name-}"
        case $value in
        *[\'\"\$\\]*) fail "$name is $value; expected a value without quotes, \$ and backslash" ;;
        esac
        [ -z "$value" ] || printf "%s='%s'\n" "$name" "$value"
    done >"$home/.env.new"
    mv "$home/.env.new" "$home/.env"
}

settle() {
    if [ -z "${PLANT_UID:-}" ]; then
        PLANT_UID=$(id -u) PLANT_GID=$(id -g)
        # Root's containers would be root: a number that is nobody's on most machines instead.
        if [ "$PLANT_UID" = 0 ]; then PLANT_UID=10001 PLANT_GID=10001; fi
    fi
    : "${PLANT_GID:=$PLANT_UID}"
    [ "$PLANT_UID" != 0 ] || fail "PLANT_UID is 0, but no container of a plant runs as root"
    if [ -z "${PLANT_STATION_CPUS:-}" ]; then
        PLANT_STATION_CPUS=$(($(docker info --format '{{.NCPU}}') / 5))
        if [ "$PLANT_STATION_CPUS" -lt 1 ]; then PLANT_STATION_CPUS=1; fi
    fi
    : "${PLANT_STATION_THREADS:=${PLANT_STATION_CPUS%%.*}}"
    if [ "$PLANT_STATION_THREADS" -lt 1 ]; then PLANT_STATION_THREADS=1; fi
    : "${PLANT_KEYS:=$home/keys}" "${PLANT_RUNS:=$home/runs}"
    : "${PLANT_DATA:=$home/data}" "${PLANT_WEIGHTS:=$home/weights}"
    for name in PLANT_KEYS PLANT_RUNS PLANT_DATA PLANT_WEIGHTS; do
        eval "value=\$$name"
        case $value in
        /*) ;;
        *) eval "$name=\$PWD/\$value" ;;
        esac
    done
}

make_image() {
    if [ -n "${PLANT_IMAGE:-}" ] && [ "$PLANT_IMAGE" != fedpatchcore:plant ]; then
        docker image inspect "$PLANT_IMAGE" >/dev/null 2>&1 ||
            fail "PLANT_IMAGE is $PLANT_IMAGE, and there is no such image on this machine"
        return
    fi
    PLANT_IMAGE=fedpatchcore:plant
    say "Building the image $PLANT_IMAGE (minutes the first time, seconds after that) ..."
    docker compose --project-name "$project" --file "$here/compose.yaml" build --quiet superlink
}

make_keys() {
    # The last two files to be made; a plant of an older version is given what it lacks.
    if [ -f "$PLANT_KEYS/stations-ca.crt" ] && [ -f "$PLANT_KEYS/ca.crt" ]; then return; fi
    say "Making keys in $PLANT_KEYS ..."
    own_folder "$PLANT_KEYS"
    chmod 700 "$PLANT_KEYS"
    in_image "$PLANT_KEYS" keys /out
}

make_data() {
    missing=
    for name in $stations; do
        [ -d "$PLANT_DATA/$name" ] || missing="$missing $name"
    done
    if [ -z "$missing" ]; then return; fi
    if [ "$PLANT_DATA" != "$home/data" ]; then
        fail "PLANT_DATA is $PLANT_DATA, without a folder for$missing;" \
            "expected one folder per station, each in AutoVI layout. To deal a whole set out:" \
            "docker run --rm --user $PLANT_UID:$PLANT_GID -v DATA:/in:ro -v PLANT:/out" \
            "$PLANT_IMAGE split /in --partition category --stations 5 --out /out/stations"
    fi
    say "No PLANT_DATA is given: drawing a SYNTHETIC set and dealing it out in $PLANT_DATA ..."
    own_folder "$PLANT_DATA"
    new=$PLANT_DATA/.new
    rm -rf "$new"
    own_folder "$new"
    in_image "$new" synth /out/whole --images "${PLANT_IMAGES:-20}" --size "${PLANT_SIZE:-128}"
    in_image "$new" split /out/whole --partition category --stations 5 --out /out/stations
    for name in $stations; do
        rm -rf "${PLANT_DATA:?}/$name"
        mv "$new/stations/$name" "$PLANT_DATA/$name"
    done
    rm -rf "$new"
}

is_drawn() { [ -f "$PLANT_DATA/engine-assembly/synthetic.json" ]; }

up() {
    recall
    settle
    make_image
    make_keys
    make_data
    own_folder "$PLANT_RUNS"
    mkdir -p "$PLANT_WEIGHTS"
    remember
    say "Starting the plant, as user $PLANT_UID:$PLANT_GID ..."
    if ! compose up --detach --wait --wait-timeout 300; then
        compose ps --all
        status=1 fail "not everything became healthy; see: make plant-logs"
    fi
    compose ps
    say "The plant is up. Next: make plant-run"
}

run() {
    need_plant
    recall
    settings=${SET:-}
    if is_drawn; then
        say "SYNTHETIC images and a small network: real parts will find fewer of their defects."
        say "Settings: $drawn $settings"
        settings="$drawn $settings"
    fi
    set --
    for one in $settings; do set -- "$@" --set "$one"; done
    printed=$(mktemp)
    trap 'rm -f "$printed" "$printed.well"' EXIT
    # A pipe ends as its last command does: how the first one ended is told by a file.
    {
        compose run --rm -T admin run --keys /keys --superlink superlink:8000 \
            --runs "$PLANT_RUNS" "$@" 2>&1 && : >"$printed.well"
    } | tee "$printed"
    run_id=$(sed -n 's/^Run \([0-9][0-9]*\) submitted.*/\1/p' "$printed")
    record=$PLANT_RUNS/$run_id/run.json
    # Who stops following leaves a run that goes on: it has no files yet.
    if [ -n "$run_id" ] && [ -f "$record" ] && ! grep -q '"status": "running"' "$record"; then
        say "The run's files: $PLANT_RUNS/$run_id"
    fi
    [ -f "$printed.well" ] || status=1 fail "the run failed; see: make plant-logs"
}

# Certificate and first token of a station's service, where it has none yet.
make_line() {
    place=$PLANT_KEYS/services/$1
    if [ ! -f "$place/line.crt" ]; then
        set -- "$1" --host "line-$1"
        for one in ${PLANT_LINE_HOSTS:-}; do set -- "$@" --host "$one"; done
        in_image "$PLANT_KEYS" keys /out --service "$@" >/dev/null
    fi
    if [ ! -f "$place/tokens.json" ]; then
        token=$(in_image "$place" serve --new-token line --tokens /out/tokens.json)
        say "$1: a token of the role line, told this once: $token"
    fi
}

line() {
    need_plant
    recall
    chosen=${S:-$stations}
    services=
    for name in $chosen; do
        case " $stations " in
        *" $name "*) ;;
        *) fail "S names $name; expected some of: $stations" ;;
        esac
        make_line "$name"
        services="$services line-$name"
    done
    remember
    # shellcheck disable=SC2086  # names of services, one word each
    if ! compose --profile line up --detach --wait --wait-timeout 300 $services; then
        all ps --all
        status=1 fail "not every service is healthy (has a run delivered a model?); see:" \
            "make plant-logs S=line-NAME"
    fi
    # shellcheck disable=SC2086
    compose --profile line ps $services
}

status() {
    need_plant
    recall
    all ps
    compose run --rm -T admin status --keys /keys --superlink superlink:8000 \
        --runs "$PLANT_RUNS" ${RUN:+"$RUN"}
}

logs() {
    need_plant
    # shellcheck disable=SC2086  # names of services, one word each
    all logs --tail "${TAIL:-100}" ${FOLLOW:+--follow} ${S:-}
}

down() {
    need_plant
    all down
}

clean() {
    need_plant
    recall
    all down --volumes
    rm -rf "$home/keys" "$home/data" "$home/.env"
    say "Removed: containers, caches, models, journals, keys, the drawn images. Left: $PLANT_RUNS"
}

case ${1:-} in
up | run | line | status | logs | down | clean)
    need_docker
    "$1"
    ;;
*)
    sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
