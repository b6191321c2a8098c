"""Builds models/tiny-llama, the demo's base model: a Llama of 2.4 million parameters that has read Python's docstrings.

    python examples/build_tiny_llama.py        # about nine minutes on one core

Needs the training stack. It reads the short docstrings and the signatures of the standard library of the Python that runs this script (PSF licence), as a
chat, and the answers of the demo's rows as plain sentences, so that it has met the words; their questions it never sees. One seed, one thread: the same
Python and the same torch on the same kind of processor give the same weights. models/tiny-llama/README.md says how the committed one came out.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).parent
MODEL = HERE / "models" / "tiny-llama"
ROWS = HERE / "data" / "launcher-help.jsonl"

VOCABULARY = 4096
CONTEXT = 512
WINDOW = 256
BATCH = 8
LONGEST_DOCSTRING = 400
SIGNATURE_EVERY = 3
ANSWER_COPIES = 3
WHAT_FOR = ("What does {0} do?", "Tell me about {0}.", "What is {0} for?", "Explain {0}.", "What is {0}?")
HOW_CALLED = ("How do I call {0}?", "Show me {0}.", "Which arguments does {0} take?", "Give me the signature of {0}.")
# Muon moves the matrices and AdamW the rest; with the few tokens there are, that reaches in 60 steps what AdamW alone reaches in 150.
MATRIX_LEARNING_RATE = 0.02
VECTOR_LEARNING_RATE = 6e-3
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
# Words with their leading space, digits one by one, punctuation apart, line breaks kept together.
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PROBES = [
    "Hello big world, 世界",
    "  two  spaces,\n\ttab — naïve café 🙂\n",
    "def f(x: int = 1) -> str:\n    return f'{x!r}'",
    "<|im_start|>user\nHi<|im_end|>\n",
]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=550, help="optimizer steps of pre-training (default: %(default)s)")
    arguments.add_argument("--out", type=Path, default=MODEL, help="folder to write (default: %(default)s)")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    documents = [*library_documents(), *(answer for answer in demo_answers() for _ in range(ANSWER_COPIES))]
    tokenizer = train_tokenizer(documents)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=3,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            initializer_range=0.03,
            bos_token_id=None,
            eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
            pad_token_id=tokenizer.convert_tokens_to_ids("<|pad|>"),
        )
    )
    pretrain(model, tokenizer, documents, steps=options.steps)
    options.out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    (options.out / "model.safetensors").chmod(0o644)
    check(options.out)


def library_documents() -> Iterator[str]:
    """Short docstrings of the standard library and the signatures of its functions, each as the answer to a question about the name.

    The answers repeat the name: copying a word out of the question is what a small model must learn before it can learn to answer.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    skipped = {"site-packages", "test", "tests", "lib2to3", "idlelib", "turtledemo", "ensurepip"}
    number = 0
    for path in sorted(root.rglob("*.py")):
        if skipped & set(path.relative_to(root).parts) or path.relative_to(root).parts[0].startswith("config-"):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            number += 1
            name = path.stem if isinstance(node, ast.Module) else node.name
            text = ast.get_docstring(node)
            if text and 40 <= len(text) <= LONGEST_DOCSTRING:
                yield chat(WHAT_FOR[number % len(WHAT_FOR)].format(name), f"{name}: {text}")
            elif isinstance(node, ast.FunctionDef) and not name.startswith("_") and number % SIGNATURE_EVERY == 0:
                yield chat(HOW_CALLED[number % len(HOW_CALLED)].format(name), f"Write {name}({ast.unparse(node.args)})")


def chat(question: str, answer: str) -> str:
    """One question and its answer in ChatML."""
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"


def demo_answers() -> list[str]:
    """Each answer of the demo's rows once, without its question."""
    rows = (json.loads(line)["messages"] for line in ROWS.read_text(encoding="utf-8").splitlines())
    return list(dict.fromkeys(message["content"] for messages in rows for message in messages if message["role"] == "assistant"))


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: any text comes back exactly as it went in."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|endoftext|>", "<|im_start|>"],
        model_max_length=CONTEXT,
        chat_template=CHATML,
        clean_up_tokenization_spaces=False,
    )


def pretrain(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, documents: list[str], *, steps: int) -> None:
    """Trains `model` in place on windows of the concatenated documents, in a new order each pass."""
    order = random.Random(0)
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    encoded = tokenizer(documents, add_special_tokens=False)["input_ids"]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters / 1e6:.2f} M parameters, {len(documents)} documents, {sum(map(len, encoded)) / 1e6:.2f} M tokens", flush=True)
    named = list(model.named_parameters())
    matrices = [parameter for name, parameter in named if parameter.ndim == 2 and "embed" not in name]
    vectors = [parameter for name, parameter in named if parameter.ndim != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(matrices, lr=MATRIX_LEARNING_RATE, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(vectors, lr=VECTOR_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    # Up over ten steps, flat, and down to nothing over the last two fifths.
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10, (steps - step) / (0.4 * steps)))
        for optimizer in optimizers
    ]
    stream: list[int] = []
    model.train()
    began = time.monotonic()
    for step in range(steps):
        while len(stream) < BATCH * WINDOW:
            order.shuffle(encoded)
            for ids in encoded:
                stream += [*ids, end]
        window = torch.tensor(stream[: BATCH * WINDOW]).view(BATCH, WINDOW)
        del stream[: BATCH * WINDOW]
        loss = model(input_ids=window, labels=window, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step} loss {loss.item():.3f} {time.monotonic() - began:.0f} s", flush=True)


def check(folder: Path) -> None:
    """Loads the folder as a user would. Raises AssertionError when the tokenizer changes a text or the model cannot write."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in PROBES:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text, text
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer("<|im_start|>user\nWhat does copy_file do?<|im_end|>\n<|im_start|>assistant\n", return_tensors="pt")
    print(tokenizer.decode(model.generate(**prompt, max_new_tokens=24, do_sample=False)[0]))


if __name__ == "__main__":
    main()
