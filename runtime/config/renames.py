"""Old and other names of options, read as their current ones."""

from __future__ import annotations

from types import MappingProxyType

# Old name -> current name. Reported as a warning that names the new one.
RENAMED = MappingProxyType(
    {
        "model_type": "type_of_model",
        "evaluation_strategy": "eval_strategy",
        "dpo_beta": "rl_beta",
        "noisy_embedding_alpha": "neftune_noise_alpha",
        "sequence_parallel_degree": "context_parallel_size",
        "max_packed_sequence_len": "sequence_len",
        "dataset_processes": "dataset_num_proc",
        "relora_steps": "jagged_restart_steps",
        "relora_warmup_steps": "jagged_restart_warmup_steps",
        "relora_anneal_steps": "jagged_restart_anneal_steps",
        "liger_swiglu": "liger_glu_activation",
    }
)

# Another spelling in use today -> the name here. Both are right, so nothing is said.
ALIASES = MappingProxyType(
    {
        "model_config": "overrides_of_model_config",
        "model_kwargs": "overrides_of_model_kwargs",
        "model_revision": "revision_of_model",
    }
)

# The same inside one dataset.
DATASET_RENAMED = MappingProxyType({"train_on_split": "split"})

# Keys of files that start clouds in the public tool. They are no part of a recipe there either.
FOREIGN = MappingProxyType(
    dict.fromkeys(
        (
            "docker_auth",
            "image_registry",
            "provider",
            "secret",
            "disk_size",
            "dry_run",
            "env",
            "env_secret",
            "output",
            "parent_id",
            "platform",
            "preset",
            "profile",
            "show_context",
            "subnet_id",
            "volumes",
            "mount",
            "source",
        ),
        "belongs to another launcher's cloud file, not to a recipe",
    )
)
