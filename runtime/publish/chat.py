"""Talking to a trained model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Message = dict[str, str]


class Conversation:
    """A model and what was said so far. The text is framed by the tokenizer's chat template, or goes in as it is when there is none."""

    def __init__(self, model: Any, tokenizer: Any, *, max_new_tokens: int, temperature: float = 0.0) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._settings = {"max_new_tokens": max_new_tokens, "do_sample": temperature > 0} | (
            {"temperature": temperature} if temperature > 0 else {}
        )
        self.messages: list[Message] = []

    def say(self, text: str, write: Callable[[str], None]) -> str:
        """The model's answer to `text`, handed to `write` piece by piece while it is made."""
        self.messages.append({"role": "user", "content": text})
        answer = ""
        for piece in self._answer():
            answer += piece
            write(piece)
        self.messages.append({"role": "assistant", "content": answer})
        return answer

    def _answer(self) -> Iterator[str]:
        from threading import Thread

        import torch
        from transformers import TextIteratorStreamer

        inputs = self._frame()
        inputs = {name: tensor.to(self._model.device) for name, tensor in inputs.items() if name in ("input_ids", "attention_mask")}
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        failure: list[BaseException] = []

        def generate() -> None:
            try:
                with torch.inference_mode():
                    self._model.generate(**inputs, streamer=streamer, pad_token_id=self._tokenizer.pad_token_id, **self._settings)
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that reads
                failure.append(error)
                streamer.end()

        thread = Thread(target=generate, daemon=True)
        thread.start()
        yield from streamer
        thread.join()
        if failure:
            raise failure[0]

    def _frame(self) -> Any:
        if self._tokenizer.chat_template:
            return self._tokenizer.apply_chat_template(self.messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        return self._tokenizer(self.messages[-1]["content"], return_tensors="pt")
