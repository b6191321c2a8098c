"""Several trainings one after the other in the same processes, started by torchrun: importing the libraries costs more than a short training.

Its arguments are a JSON list of `{"recipe", "chaos", "attempt"}`, and the file that gets the list of exit codes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState, GradientState

from runtime.config.load import load_config
from runtime.training.job import Surroundings
from runtime.training.stop import StopRequest
from runtime.training.train import train


def main() -> None:
    """Train each recipe; what the processes share through accelerate begins anew each time."""
    orders, answer = json.loads(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    codes = []
    for order in orders:
        AcceleratorState._reset_state(True)
        GradientState._reset_state()
        os.environ.pop("FSDP_CPU_RAM_EFFICIENT_LOADING", None)
        surroundings = Surroundings(run="tiny", chaos=order.get("chaos", ""), attempt=order.get("attempt", 1), debug=True)
        config = load_config(Path(order["recipe"])).config
        if order.get("unsupervised"):
            surroundings = Surroundings(debug=True)
        codes.append(int(train(config, surroundings, StopRequest())))
        dist.barrier()
    if dist.get_rank() == 0:
        answer.write_text(json.dumps(codes), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
