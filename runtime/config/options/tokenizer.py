"""Options of the tokenizer, its special tokens and the chat template."""

from typing import Any

from pydantic import Field

from runtime.config.section import Section


class SpecialTokens(Section):
    """Special tokens to set on the tokenizer. They need not be repeated under `tokens`."""

    bos_token: str | None = Field(None, description="Token put before a text. Default: the tokenizer's own.")
    eos_token: str | None = Field(
        None, description="Token that ends an answer; training teaches the model to stop with it. Default: the tokenizer's own."
    )
    pad_token: str | None = Field(
        None, description="Token that fills short rows. Default: the tokenizer's own, otherwise one that is never trained is chosen."
    )
    unk_token: str | None = Field(None, description="Token for text the vocabulary cannot express. Default: the tokenizer's own.")
    additional_special_tokens: list[str] | None = Field(
        None, description="Further tokens that are never split and are left out of decoded text."
    )


class TokenizerOptions:
    """How text becomes tokens."""

    tokenizer_config: str | None = Field(None, description="Repository or folder of the tokenizer. Default: `base_model`.")
    tokenizer_type: str | None = Field(None, description="transformers class of the tokenizer. Default: AutoTokenizer.")
    tokenizer_use_fast: bool | None = Field(
        None, description="Use the fast (Rust) tokenizer. Default: yes where one exists; exact label masks need its character offsets."
    )
    tokenizer_legacy: bool | None = Field(
        None,
        description="Keep the older handling of spaces around special tokens in Llama-1/2 tokenizers. Default: the tokenizer's own setting.",
    )
    tokenizer_use_mistral_common: bool | None = Field(None, description="Tokenize with the mistral-common package instead of transformers.")
    tokenizer_save_jinja_files: bool | None = Field(
        True, description="Save the chat template as its own .jinja file beside the tokenizer, as transformers does by default."
    )
    processor_type: str | None = Field(
        None, description="transformers class that prepares images and text together, for vision models. Default: AutoProcessor."
    )
    processor_kwargs: dict[str, Any] | None = Field(None, description="Extra keyword arguments for loading the processor.")
    special_tokens: SpecialTokens | None = Field(None, description="Special tokens to add or change, by role.")
    tokens: list[str] | None = Field(
        None,
        description="Tokens to add to the vocabulary; the embedding matrix grows with them. Train `embed_tokens` and `lm_head` too when using an adapter.",
    )
    added_tokens_overrides: dict[int, str] | None = Field(
        None,
        description="Gives reserved tokens a new text, by token id, so that new tokens need no new embeddings. Only ids that the tokenizer lists as added.",
    )
    chat_template: str | None = Field(
        None,
        description="Template that turns messages into one text. `tokenizer_default` uses the tokenizer's own and fails if it has none; a built-in name such as `chatml` or `llama3` uses that; "
        "`tokenizer_default_fallback_<name>` tries the first, then the second; `jinja` uses `chat_template_jinja`. The chosen one is saved with the tokenizer.",
    )
    chat_template_jinja: str | None = Field(
        None,
        description="A chat template of your own, as Jinja text or the path of a .jinja file. Used with `chat_template: jinja` or when that is unset.",
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="Extra variables for the chat template, such as `enable_thinking: false`."
    )
    eot_tokens: list[str] | None = Field(
        None, description="Tokens that end a turn where they differ from the end-of-text token. Default: the end-of-text token."
    )
    default_system_message: str | None = Field(
        None, description="System message for the built-in templates that carry one, in place of theirs."
    )
