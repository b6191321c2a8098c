"""Options of logs and experiment trackers."""

from typing import Any, Literal

from pydantic import Field


class LoggingOptions:
    """What is recorded while training, and where."""

    logging_steps: int | None = Field(
        None,
        ge=1,
        description="Steps between lines in the experiment tracker and the log. The run's own events record every step. Default: 1.",
    )
    logging_nan_inf_filter: bool | None = Field(
        None,
        description="Leave losses that are not finite out of the means that trackers and evaluations report. The run's own record keeps them, and a training loss that is not finite ends the run whatever is said here. Default: false.",
    )
    use_tensorboard: bool | None = Field(None, description="Log to TensorBoard files in the run's folder.")
    profiler_steps: int | None = Field(
        None,
        ge=1,
        description="Profile this many steps into `profile` in the run's folder: a trace of every process for Perfetto or chrome://tracing, and on a GPU the memory's history for pytorch.org/memory_viz. Slow and large: 3 to 10 steps are enough. Default: none.",
    )
    profiler_steps_start: int | None = Field(
        0,
        ge=0,
        description="Steps before the first profiled one; 5 leaves the warm-up out. A run resumed past it profiles nothing. Default: 0.",
    )
    sync_profiler_steps: int | None = Field(
        None,
        ge=1,
        description="List, for this many steps, the lines of code at which the host waits for the GPU: `profile/syncs-*.json` in the run's folder. Needs a GPU. Default: none.",
    )
    sync_profiler_start_step: int = Field(0, ge=0, description="Steps before the first of those. Default: 0.")
    use_wandb: bool | None = Field(None, description="Log to Weights & Biases. Default: yes when `wandb_project` is set.")
    wandb_project: str | None = Field(None, description="Its project.")
    wandb_entity: str | None = Field(None, description="Its team or user.")
    wandb_name: str | None = Field(None, description="Name of the run there. Default: the run's name here.")
    wandb_run_id: str | None = Field(
        None, description="Identifier of the run there: the same one goes on in the same curves after a resume."
    )
    wandb_mode: Literal["online", "offline", "disabled", "shared"] | None = Field(
        None, description="`offline` keeps the log on disk, `disabled` turns it off."
    )
    wandb_watch: str | bool | None = Field(None, description="Also log `gradients`, `parameters` or `all`; `false` for none.")
    wandb_log_model: str | bool | None = Field(None, description="Upload the model: `checkpoint` at every save, `end` once.")
    use_mlflow: bool | None = Field(
        None, description="Log to MLflow. Default: yes when `mlflow_experiment_name` or `mlflow_tracking_uri` is set."
    )
    mlflow_tracking_uri: str | None = Field(None, description="Its server.")
    mlflow_experiment_name: str | None = Field(None, description="Its experiment.")
    mlflow_run_name: str | None = Field(None, description="Name of the run there.")
    hf_mlflow_log_artifacts: bool | None = Field(None, description="Copy each checkpoint into its artifacts.")
    use_comet: bool | None = Field(None, description="Log to Comet. Default: yes when `comet_project_name` is set.")
    comet_api_key: str | None = Field(
        None, description="Key of Comet. A secret has no place in a recipe: name COMET_API_KEY under `launch.secrets`."
    )
    comet_workspace: str | None = Field(None, description="Its workspace. Default: the user's.")
    comet_project_name: str | None = Field(None, description="Its project.")
    comet_experiment_key: str | None = Field(None, description="Identifier of the experiment, to go on with it. Default: a random one.")
    comet_mode: Literal["create", "get", "get_or_create"] | None = Field(
        None, description="Start a new experiment, go on with one, or either. Default: either."
    )
    comet_online: bool | None = Field(
        None, description="False keeps the experiment on disk instead of sending it. Default: Comet decides, usually true."
    )
    comet_experiment_config: dict[str, Any] | None = Field(
        None, description="Further settings of the experiment, arguments of `comet_ml.ExperimentConfig`: `tags`, `log_code`, …."
    )
    use_trackio: bool | None = Field(None, description="Log to Trackio. Default: yes when `trackio_project_name` is set.")
    trackio_project_name: str | None = Field(None, description="Its project.")
    trackio_run_name: str | None = Field(None, description="Name of the run there.")
    trackio_space_id: str | None = Field(None, description="Hugging Face Space that shows it. Default: kept on this machine.")
    use_otel_metrics: bool | None = Field(
        False,
        description="Serve loss, learning rate, speed, memory and evaluations for Prometheus at `http://HOST:PORT/metrics` while training, through OpenTelemetry (packages opentelemetry-sdk and opentelemetry-exporter-prometheus).",
    )
    otel_metrics_host: str | None = Field(
        "localhost", description="Address they are served on; `0.0.0.0` lets other machines read them, and nothing asks who they are."
    )
    otel_metrics_port: int | None = Field(
        8000, ge=1, le=65535, description="Port they are served on; a taken one ends the run before it trains."
    )
    use_swanlab: bool | None = Field(
        None,
        description="Log to SwanLab, through the callback of its own package (`pip install swanlab`). A resumption is another experiment there. Default: yes when `swanlab_project` is set.",
    )
    swanlab_project: str | None = Field(None, description="Its project. Default: the name of the folder the run was started in.")
    swanlab_experiment_name: str | None = Field(None, description="Name of the run there. Default: a random one.")
    swanlab_description: str | None = Field(None, description="Description of the run there.")
    swanlab_workspace: str | None = Field(None, description="Its workspace. Default: the user's.")
    swanlab_mode: Literal["cloud", "local", "offline", "disabled"] | None = Field(
        None,
        description="`cloud` sends to the service and needs SWANLAB_API_KEY; `local` keeps a dashboard's files on this machine, `offline` files to send later, both in `swanlog` of the run's folder; `disabled` does nothing. Default: `cloud`.",
    )
    swanlab_api_key: str | None = Field(
        None, description="Key of SwanLab. A secret has no place in a recipe: name SWANLAB_API_KEY under `launch.secrets`."
    )
    swanlab_api_host: str | None = Field(None, description="Address of its service, where that is one's own.")
    swanlab_web_host: str | None = Field(None, description="Address of its pages, where they are one's own.")
    swanlab_log_model: bool | None = Field(None, description="Upload the model.")
    swanlab_log_completions: bool | None = Field(None, description="Log generated answers.")
    swanlab_completion_log_interval: int | None = Field(None, ge=1, description="Steps between logged answers.")
    swanlab_completion_max_buffer: int | None = Field(None, ge=1, description="Answers kept until they are sent.")
    swanlab_lark_webhook_url: str | None = Field(None, description="Address of a Lark bot that is told about the run.")
    swanlab_lark_secret: str | None = Field(None, description="Secret of that bot. It has no place in a recipe.")
