set -Eeuo pipefail
home=$HOME/.launcher
python=$home/venv/bin/python
[ -x "$python" ] || python=$(command -v python3)
cd "$home"
# Each machine of the run starts this; which one it is, and where the others are, is in SkyPilot's variables.
exec "$python" -P -m launcher.backend.node run
