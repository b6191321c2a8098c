"""The whole recipe as one typed model. Attribute names are the current names of the public reference."""

from pydantic import Field

from runtime.config.launch import LaunchConfig
from runtime.config.options.adapter import AdapterOptions
from runtime.config.options.attention import AttentionOptions
from runtime.config.options.checkpointing import CheckpointOptions
from runtime.config.options.datasets import DatasetOptions
from runtime.config.options.diffusion import DiffusionOptions
from runtime.config.options.distributed import DistributedOptions
from runtime.config.options.evaluation import EvaluationOptions
from runtime.config.options.hub import HubOptions
from runtime.config.options.inference import InferenceOptions
from runtime.config.options.internal import InternalOptions
from runtime.config.options.kernels import KernelOptions
from runtime.config.options.logging import LoggingOptions
from runtime.config.options.model import ModelOptions
from runtime.config.options.multimodal import MultimodalOptions
from runtime.config.options.optimizer import OptimizerOptions
from runtime.config.options.packing import PackingOptions
from runtime.config.options.precision import PrecisionOptions
from runtime.config.options.preference import PreferenceOptions
from runtime.config.options.quantization import QuantizationOptions
from runtime.config.options.rewards import RewardOptions
from runtime.config.options.schedule import ScheduleOptions
from runtime.config.options.tokenizer import TokenizerOptions
from runtime.config.options.training import TrainingOptions
from runtime.config.section import Section


# The groups are plain classes: pydantic collects their fields once, here, which halves the time a command needs to start.
class TrainingConfig(
    InternalOptions,
    InferenceOptions,
    DiffusionOptions,
    MultimodalOptions,
    RewardOptions,
    PreferenceOptions,
    HubOptions,
    LoggingOptions,
    DistributedOptions,
    KernelOptions,
    AttentionOptions,
    PrecisionOptions,
    EvaluationOptions,
    CheckpointOptions,
    ScheduleOptions,
    OptimizerOptions,
    TrainingOptions,
    PackingOptions,
    DatasetOptions,
    QuantizationOptions,
    AdapterOptions,
    TokenizerOptions,
    ModelOptions,
    Section,
):
    """A training recipe."""

    launch: LaunchConfig = Field(
        default_factory=LaunchConfig, description="What the recipe says beyond training: the machine, the budget, what happens after."
    )
