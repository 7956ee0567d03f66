#!/usr/bin/env bash
# What cluster.yaml and cluster.aws.yaml run on the machines: cluster.sh install | install-head | tracking | leave
#   install       the project and its pinned dependencies in ~/sft-search/venv, and the shells' environment
#   install-head  the rest of the environment, for drivers
#   tracking      the MLflow server, which is started again when it dies and ends with Ray
#   leave         end what Ray leaves on a worker whose head is gone
set -euo pipefail
project=~/sft-search
settings=~/.sft-search.env # written by the cluster's file
profile=~/.sft-search.profile

install() {
    chmod 600 ~/.ray/auth_token "$settings"
    # The synced code is what runs, everywhere; Ray 2.60 refuses workers without the token only in this mode.
    cat > "$profile" <<-'PROFILE'
		set -o allexport
		. ~/.sft-search.env
		set +o allexport
		export PATH="$HOME/sft-search/venv/bin:$PATH" PYTHONPATH="$HOME/sft-search"
		export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true
		# A slot is half a dozen processes; a head without CPUs would start them one at a time.
		export RAY_worker_maximum_startup_concurrency=16
	PROFILE
    grep -qsF "$profile" ~/.bashrc || echo ". $profile" >> ~/.bashrc

    # pip takes a minute to find that nothing is to do; a copy of what it worked from says so at once.
    local installed=~/.sft-search.installed
    if ! cat "$project/pyproject.toml" "$project/.cluster/constraints.txt" | cmp --silent - "$installed"; then
        [ -x "$project/venv/bin/python" ] || python3.11 -m venv "$project/venv"
        "$project/venv/bin/python" -m pip install --constraint "$project/.cluster/constraints.txt" \
            --editable "$project[cluster]"
        cat "$project/pyproject.toml" "$project/.cluster/constraints.txt" > "$installed"
    fi
}

install-head() {
    cat >> "$profile" <<-'PROFILE'
		export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
		export RAY_JOB_STOP_WAIT_TIME_S=120 # a search ends its trials and sends its figures; Ray gives 3 s
		if [ -n "${TRACKING_PASSWORD:-}" ]; then
		    export MLFLOW_TRACKING_USERNAME=sft MLFLOW_TRACKING_PASSWORD="$TRACKING_PASSWORD"
		fi
	PROFILE
}

tracking() {
    # One worker: several outlive a parent that is killed, and keep the port from the server that follows.
    local server=(mlflow server --port 5000 --workers 1)
    export MLFLOW_ARTIFACTS_DESTINATION="${MLFLOW_ARTIFACTS_DESTINATION:-$STORAGE/mlartifacts}"
    export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
    if [ -n "${TRACKING_PASSWORD:-}" ]; then
        server+=(--host 0.0.0.0 --app-name basic-auth)
        export MLFLOW_AUTH_CONFIG_PATH=~/.sft-search.auth.ini
        export MLFLOW_AUTH_ADMIN_USERNAME=sft MLFLOW_AUTH_ADMIN_PASSWORD="$TRACKING_PASSWORD"
        MLFLOW_FLASK_SERVER_SECRET_KEY=$(head -c 32 /dev/urandom | base64)
        export MLFLOW_FLASK_SERVER_SECRET_KEY
        printf '[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///%s\n' ~/mlflow-users.db \
            > "$MLFLOW_AUTH_CONFIG_PATH"
    fi
    setsid bash -c '
        while :; do "$@"; echo "the tracking server ended with $?; it is started again"; sleep 2; done &
        tail --pid="$(pgrep -n -u "$UID" -x gcs_server)" -f /dev/null
        kill -KILL 0
    ' supervise "${server[@]}" < /dev/null >> ~/mlflow.log 2>&1 &
}

leave() {
    # `ray down` stops the head alone. A worker's raylet ends itself after a minute without one, but its agents stay
    # (Ray 2.60); all that one `ray start` starts is one process group.
    local raylet group
    raylet=$(pgrep -n -u "$UID" -x raylet)
    group=$(ps -o pgid= "$raylet" | tr -d ' ')
    setsid bash -c 'tail --pid="$1" -f /dev/null; kill -KILL -- "-$2"' leave "$raylet" "$group" < /dev/null > /dev/null 2>&1 &
}

"$1"
