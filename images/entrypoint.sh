#!/usr/bin/env bash
# What a container of the runtime image does:
#   (nothing)                   the run that LAUNCHER_CONFIG holds, on all GPUs of this machine and of the others that SkyPilot names
#   train CONFIG, merge, chat…  a command of the runtime; it starts a process for each GPU by itself
#   health                      whether the run here is attended
#   anything else               that command
set -Eeuo pipefail
case "${1:-}" in
  "")
    if [ -n "${LAUNCHER_CONFIG:-}" ]; then
      exec python -P -m launcher.backend.node run
    fi
    exec launcher --help
    ;;
  health) exec python -P -m launcher.backend.node health ;;
  preprocess | train | evaluate | merge | chat | publish) exec python -P -m runtime "$@" ;;
  *) exec "$@" ;;
esac
