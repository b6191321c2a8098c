set -Eeuo pipefail
home=$HOME/.launcher
mkdir -p "$home"
# The clock of the budget starts here at the latest.
[ -e "$home/began" ] || date +%s > "$home/began"
python=$(command -v python3 || true)
wheels=("$home"/wheel/*.whl)
if [ -e "${wheels[0]}" ]; then
  # A bare machine: the launcher goes into an environment of its own.
  uv=$(command -v uv || command -v "$HOME/.local/bin/uv" || true)
  if [ -z "$uv" ]; then
    curl -LsSf https://astral.sh/uv/install.sh | sh
    uv=$HOME/.local/bin/uv
  fi
  # Anew each time: a machine before this one may have left half of it in a home they share.
  rm -rf "$home/venv"
  "$uv" venv --quiet --seed --python 3.11 "$home/venv"
  "$uv" pip install --quiet --python "$home/venv/bin/python" "finetune-launcher[stores] @ file://${wheels[0]}"
  python=$home/venv/bin/python
fi
cd "$home"
# The training stack, unless an image or the owner of the machine has put it there.
"$python" -P -m launcher.backend.node prepare
