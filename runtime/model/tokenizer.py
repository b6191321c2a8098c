"""The tokenizer of a run: loaded, given the recipe's tokens and chat template, and tried before anything depends on it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import tokenizers
import transformers
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from runtime.config.problem import Problem, UserError
from runtime.data.templates import chat_template_text
from runtime.model.refusals import refusal

_LOG = logging.getLogger(__name__)

# Tokens that vocabularies keep for padding and that no text contains, tried in this order when a tokenizer names none.
_PADDING = ("<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>", "<|endoftext|>", "<|PAD_TOKEN|>", "<unk>")
_PROBE = "Hello big world, how are you?"
_PROBE_WIDE = "naïve 世界 👋"


def load_tokenizer(config: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of `config`, padding on the right, with its special tokens, added tokens, pad token and chat template set.

    Raises UserError when it cannot be found or loaded, when a special token is unusable, or when text does not come back from it as it went in.
    """
    name = config.tokenizer_config or config.base_model
    tokenizer = _loaded(name, config)
    _override_added_tokens(tokenizer, config.added_tokens_overrides)
    _set_special_tokens(tokenizer, config.special_tokens)
    if config.tokens:
        tokenizer.add_tokens(list(config.tokens))
    _choose_padding(tokenizer)
    tokenizer.padding_side = "right"
    if config.chat_template or config.chat_template_jinja:
        tokenizer.chat_template = chat_template_text(
            tokenizer, config.chat_template, config.chat_template_jinja, default_system_message=config.default_system_message
        )
    check_round_trip(tokenizer, name)
    return tokenizer


def check_round_trip(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raise UserError when the tokenizer loses the spaces of plain text; warn in the log when it loses other characters.

    Some repositories name a tokenizer class that rebuilds their vocabulary as another kind; what comes back then has no spaces, and a model trained
    through it learns nonsense without any error.
    """
    back = tokenizer.decode(tokenizer.encode(_PROBE, add_special_tokens=False), skip_special_tokens=True)
    words, returned = _PROBE.casefold().split(), back.casefold().split()
    if len(returned) < len(words) and "".join(words)[:5] == "".join(returned)[:5]:
        raise UserError(
            Problem(
                code="broken-tokenizer",
                message=f"the tokenizer turns '{_PROBE}' into '{back}': its class ({type(tokenizer).__name__}) does not fit its vocabulary",
                place=name,
                path="tokenizer_type",
                fix="set `tokenizer_type: PreTrainedTokenizerFast`, which reads tokenizer.json as it is",
            )
        )
    wide = tokenizer.decode(tokenizer.encode(_PROBE_WIDE, add_special_tokens=False), skip_special_tokens=True)
    if "".join(wide.split()) != "".join(_PROBE_WIDE.split()):
        _LOG.warning("the tokenizer of %s does not give back every character: %r became %r", name, _PROBE_WIDE, wide)


def _loaded(name: str, config: Any) -> PreTrainedTokenizerBase:
    if config.tokenizer_use_mistral_common:
        raise UserError(
            Problem(
                code="unsupported",
                message="mistral-common has no chat templates and no places of tokens in the text, which deciding what is trained needs",
                path="tokenizer_use_mistral_common",
                fix="remove it; the tokenizer.json of the model is used",
            )
        )
    kind = getattr(transformers, config.tokenizer_type, None) if config.tokenizer_type else AutoTokenizer
    if kind is None:
        raise UserError(
            Problem(
                code="unknown-name",
                message=f"transformers {transformers.__version__} has no tokenizer class '{config.tokenizer_type}'",
                path="tokenizer_type",
                fix="remove tokenizer_type to use AutoTokenizer",
            )
        )
    arguments: dict[str, Any] = {"use_fast": config.tokenizer_use_fast is not False, "trust_remote_code": bool(config.trust_remote_code)}
    if config.tokenizer_legacy is not None:
        arguments["legacy"] = config.tokenizer_legacy
    if config.revision_of_model and not config.tokenizer_config:
        arguments["revision"] = config.revision_of_model
    folder = Path(name).expanduser()
    if folder.is_dir():
        name = str(folder)
    elif name.startswith((".", "/", "~")):
        raise UserError(
            Problem(
                code="missing-file",
                message=f"there is no folder {folder}",
                path=_option(config),
                fix="give the folder of a model, or its name on the Hub",
            )
        )
    try:
        loaded: PreTrainedTokenizerBase = kind.from_pretrained(name, **arguments)
    except Exception as error:
        reason = " ".join(str(error).split())
        revision = arguments.get("revision")
        refused = None if folder.is_dir() else refusal(error, name=name, option=_option(config), revision=revision)
        raise refused or UserError(
            Problem(
                code="unreadable",
                message=f"cannot load the tokenizer of {name}: {reason[:400]}",
                path=_option(config),
                fix="check the name, your network and HF_TOKEN; a local folder needs tokenizer.json and tokenizer_config.json",
            )
        ) from error
    return loaded


def _option(config: Any) -> str:
    return "tokenizer_config" if config.tokenizer_config else "base_model"


def _override_added_tokens(tokenizer: PreTrainedTokenizerBase, overrides: dict[int, str] | None) -> None:
    """Give reserved tokens new texts, keeping their ids: the vocabulary, and with it the embeddings, stays as large as it is."""
    if not overrides:
        return
    fast = getattr(tokenizer, "backend_tokenizer", None)
    document = json.loads(fast.to_str()) if fast is not None else {"added_tokens": []}
    added = {entry["id"]: entry for entry in document["added_tokens"]}
    wrong = sorted(set(overrides) - set(added))
    if wrong:
        raise UserError(
            Problem(
                code="out-of-range",
                message=f"added_tokens_overrides names token {', '.join(map(str, wrong))}, which is not an added token of this tokenizer",
                path="added_tokens_overrides",
                fix=f"its added tokens are {_ranges(sorted(added)) or 'none'}; other texts go into `tokens`",
            )
        )
    vocabulary = document["model"].get("vocab")
    for token, text in overrides.items():
        old = added[token]["content"]
        if isinstance(vocabulary, dict) and old in vocabulary:
            vocabulary[text] = vocabulary.pop(old)
        added[token].update(content=text, normalized=False)
    tokenizer._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(document))


def _ranges(numbers: list[int]) -> str:
    """`3, 7-9` for 3, 7, 8, 9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _set_special_tokens(tokenizer: PreTrainedTokenizerBase, special: Any) -> None:
    if special is None:
        return
    wanted = {role: getattr(special, role) for role in ("bos_token", "eos_token", "pad_token", "unk_token") if getattr(special, role)}
    more = list(special.additional_special_tokens or [])
    if wanted or more:
        before = len(tokenizer)
        tokenizer.add_special_tokens({**wanted, **({"extra_special_tokens": more} if more else {})})
        if len(tokenizer) > before:
            _LOG.info("the vocabulary grew by %d special tokens", len(tokenizer) - before)


def _choose_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.pad_token_id is not None:
        return
    vocabulary = tokenizer.get_vocab()
    tokenizer.pad_token = next((token for token in _PADDING if token in vocabulary and token != tokenizer.eos_token), tokenizer.eos_token)
    if tokenizer.pad_token_id is None:
        raise UserError(
            Problem(
                code="missing",
                message="the tokenizer has neither a pad token nor an end token",
                path="special_tokens.pad_token",
                fix="set `special_tokens: {pad_token: …, eos_token: …}`",
            )
        )
