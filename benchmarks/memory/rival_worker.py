"""Runs inside the rivals' own environment: questions as JSON on stdin, answers as JSON on the last line of stdout.

Its argument is the folder of packages that has torch, for DeepSpeed; it comes last, so that fitcheck's own packages win.
"""

import contextlib
import io
import json
import sys

GIB = 2**30
CARDS = {
    "T4": "t4",
    "A100": "a100-40",
    "A100-80GB": "a100-80",
    "H100": "h100",
    "H200": "h200",
    "L4": "l4",
    "A6000": "a6000",
    "RTX3090": "3090",
    "RTX4090": "4090",
    "V100": "v100-16",
}
VERDICTS = {"safe": "fits", "uncertain": "tight", "does_not_fit": "does-not-fit"}


def main() -> None:
    questions = json.load(sys.stdin)
    with contextlib.redirect_stderr(io.StringIO()):
        fitcheck = {question["id"]: said for question in questions if (said := ask_fitcheck(question)) is not None}
        sys.path.append(sys.argv[1])
        deepspeed = {question["id"]: said for question in questions if (said := ask_deepspeed(question)) is not None}
    print(json.dumps({"fitcheck": fitcheck, "deepspeed": deepspeed}))


def ask_fitcheck(question):
    from fitcheck import ModelConfig, TrainingConfig, config_parser, estimate, get_gpu
    from fitcheck.memory.lora import LORA_TARGETS_FULL

    if question["sharded"] or question["gpus"] > 1:
        return None
    raw = question["config"]
    try:
        config_parser._reject_unsupported(raw, question["id"])
        fields = config_parser._parse_fields(raw)
        count = config_parser._reconcile_param_count(question["id"], question["parameters"], config_parser._count_params(fields))

        model = ModelConfig(name=question["id"], num_params=count, **vars(fields))
        known = [name for name in question["targets"] or LORA_TARGETS_FULL if name in LORA_TARGETS_FULL]
        training = TrainingConfig(
            precision=question["precision"],
            quantization="nf4" if question["quantization"].startswith("nf4") else question["quantization"],
            double_quant=question["quantization"] == "nf4-dq",
            optimizer=question["optimizer"],
            batch_size=question["batch"],
            seq_len=question["sequence"],
            lora_rank=None if question["full"] else question["rank"],
            lora_targets=known,
            grad_checkpoint=question["checkpointing"],
            flash_attn=question["flash"],
        )
        report = estimate(model, training, get_gpu(CARDS.get(question["gpu"], "a100-80")))
    except ValueError:  # its word for models and settings it does not take
        return None
    mib = report.total_mib - (report.overhead_mib if question["allocated"] else 0)
    return {"gib": mib / 1024, "verdict": VERDICTS[report.verdict] if question["gpu"] in CARDS else None}


def ask_deepspeed(question):
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    if not question["full"] or question["offload"]:
        return None
    if question["sharded"]:
        _, needed, _ = estimate_zero3_model_states_mem_needs(
            question["parameters"], question["largest_layer"], question["gpus"], 1, cpu_offload=False, cpu_offload_params=False
        )
    else:
        _, needed = estimate_zero2_model_states_mem_needs(question["parameters"], 1, 1, cpu_offload=False)
    return {"gib": needed / GIB, "verdict": None}


if __name__ == "__main__":
    main()
