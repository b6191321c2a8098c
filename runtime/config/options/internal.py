"""Options that the public tool fills in for itself. Recipes it has written back carry them; they are read and mean nothing here."""

from typing import Any

from pydantic import Field


class InternalOptions:
    """Results of another tool's run that ended up in its recipes."""

    is_preprocess: bool | None = Field(None, description="Marks a run that only prepares data; here the command says so.")
    preprocess_iterable: bool | None = Field(None, description="Prepare streamed data ahead; here decided by `streaming`.")
    total_num_tokens: int | None = Field(None, ge=0, description="Counted tokens of the data; counted anew here.")
    total_supervised_tokens: int | None = Field(None, ge=0, description="Counted tokens that are trained; counted anew here.")
    sample_packing_eff_est: float | None = Field(None, ge=0, le=1, description="Measured fullness of packed rows; measured anew here.")
    axolotl_config_path: str | None = Field(None, description="Path of the recipe a file was made from.")
    is_falcon_derived_model: bool | None = Field(None, description="Marks a Falcon-shaped model; found from config.json here.")
    is_llama_derived_model: bool | None = Field(None, description="Marks a Llama-shaped model; found from config.json here.")
    is_mistral_derived_model: bool | None = Field(None, description="Marks a Mistral-shaped model; found from config.json here.")
    is_qwen_derived_model: bool | None = Field(None, description="Marks a Qwen-shaped model; found from config.json here.")
    local_rank: int | None = Field(None, description="Number of the process on its machine; set by the distributed launcher.")
    world_size: int | None = Field(None, ge=1, description="Number of processes; set by the distributed launcher.")
    device: Any | None = Field(None, description="Device of the process; set by the launcher of processes.")
    ddp: bool | None = Field(None, description="Training by copies on several devices; found from the number of processes.")
