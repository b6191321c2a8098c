"""Options of the base model: which weights, which class, which changes before training."""

from typing import Any, Literal

from pydantic import Field


class ModelOptions:
    """Which model is trained and how it is loaded."""

    base_model: str = Field(
        description="The model to start from: a Hugging Face repository id or a local folder with config.json, weights and tokenizer."
    )
    base_model_config: str | None = Field(
        None, description="Repository or folder to take config.json from when `base_model` has none. Default: `base_model` itself."
    )
    base_model_ignore_patterns: str | list[str] | None = Field(
        None,
        description="File patterns to skip when downloading the base model, for repositories that hold the weights in several formats. Only files that are loaded are ever fetched here, so there is nothing to skip.",
    )
    cls_model_config: str | None = Field(
        None, description="Name of the transformers configuration class to read config.json with. Default: AutoConfig picks it."
    )
    type_of_model: str | None = Field(
        None,
        description="transformers class that loads the weights. Default: AutoModelForCausalLM, right for every text generator that is trained on next tokens.",
    )
    revision_of_model: str | None = Field(
        None, description="Branch, tag or commit of the base model's repository. A commit makes a run repeatable; default: the newest."
    )
    overrides_of_model_config: dict[str, Any] | None = Field(
        None, description="Values laid over the model's config.json before the weights load, for example `rope_scaling`."
    )
    overrides_of_model_kwargs: dict[str, Any] | None = Field(
        None, description="Extra keyword arguments for `from_pretrained` of the model, for what no option here names."
    )
    rope_scaling: Any | None = Field(
        None, description="Old place of the rotary-position scaling; write it under `overrides_of_model_config`."
    )
    trust_remote_code: bool | None = Field(
        None,
        description="Run Python code that comes with the model or tokenizer repository. Off by default: it is other people's code on your machine, with your credentials.",
    )
    reinit_weights: bool | None = Field(
        None, description="Start from random weights with the base model's shape instead of its trained weights."
    )
    resize_token_embeddings_to_32x: bool | None = Field(
        None, description="When tokens were added, grow the embedding matrix to a multiple of 32 rows, a size GPUs multiply faster."
    )
    mean_resizing_embeddings: bool | None = Field(
        False,
        description="Start the embeddings of added tokens from the mean of the old ones instead of random values. Off, as in the reference.",
    )
    shrink_embeddings: bool | None = Field(
        None,
        description="Also cut the embedding matrix down to the tokenizer's length when it is longer. Default: extra rows stay, so that checkpoints keep their shape.",
    )
    embeddings_skip_upcast: bool | None = Field(
        None, description="With an adapter, keep embeddings in the model's precision instead of raising them to 32 bit; saves memory."
    )
    device_map: Any | None = Field(
        None,
        description="Where transformers places the layers when no distributed launcher does: `auto`, `sequential`, or a mapping of modules to devices.",
    )
    max_memory: dict[int | str, int | str] | None = Field(
        None, description="Memory limit for each device while the model is placed, such as `{0: 20GiB, cpu: 60GiB}`. Needs a `device_map`."
    )
    low_cpu_mem_usage: bool | None = Field(None, description="Load weights straight into place, without a second full copy in host memory.")
    gpu_memory_limit: int | str | None = Field(
        None,
        description="Most that the model's weights may take of each GPU, in GiB when a number, or as text such as `20GiB`. A single process spreads the layers over its GPUs within the limit (`device_map: auto`); each of several processes keeps to its own GPU. A model that does not fit is refused. Not together with `max_memory`.",
    )
    experimental_skip_move_to_device: bool | None = Field(
        True, description="Leave the model on the host until it has been sharded. False moves it to the device first, the older order."
    )
    use_kernels: bool | None = Field(
        None,
        description="Let transformers replace layers by kernels from the Hub. Needs a GPU, the package kernels and, the first time, the network.",
    )
    experts_implementation: str | None = Field(
        None,
        description="How mixture-of-experts layers are computed: `grouped_mm` (transformers' choice where it runs), `batched_mm`, `eager` (one expert after the other), or `sonicmoe` and `deepgemm`, which are kernels from the Hub. Refused for models without such layers.",
    )
    model_quantization_config: Literal["Mxfp4Config", "FineGrainedFP8Config"] | None = Field(
        None,
        description="How to read a base model that is stored in few bits: `Mxfp4Config` for gpt-oss, `FineGrainedFP8Config` for DeepSeek and others. Default: as its config.json says.",
    )
    model_quantization_config_kwargs: dict[str, Any] | None = Field(
        None, description="Arguments of that class. `dequantize: true` gives full-size weights, which every method can train and merge."
    )
    unfrozen_parameters: list[str] | None = Field(
        None,
        description="Regular expressions of parameter names that train; all others are frozen. A range of rows at the end, `model.embed_tokens.weight$[:32000]`, trains those rows alone (the end is not included): the others keep their numbers to the last bit, whatever the weight decay. Ranges do not work with sharding.",
    )
    fix_untrained_tokens: int | list[int] | None = Field(
        None,
        description="Ids of tokens whose embedding was never trained, such as reserved tokens that the data now use; their rows of the input and output embeddings start from the mean of the trained rows. Embeddings are then saved with an adapter.",
    )
    ple_cpu_offload: bool = Field(False, description="Keep per-layer embeddings in host memory (models that have them).")
