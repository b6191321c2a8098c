"""Options of the demonstration page for a trained model."""

from pydantic import Field


class InferenceOptions:
    """A page to chat with the model."""

    gradio_title: str | None = Field(None, description="Title of the page.")
    gradio_share: bool | None = Field(None, description="Make it reachable from the internet through Gradio.")
    gradio_server_name: str | None = Field(None, description="Host it is served on.")
    gradio_server_port: int | None = Field(None, ge=1, le=65535, description="Port it is served on.")
    gradio_max_new_tokens: int | None = Field(None, ge=1, description="Longest answer, in tokens.")
    gradio_temperature: float | None = Field(None, ge=0, description="Randomness of answers.")
