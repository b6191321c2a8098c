"""The `preprocess` command: prepare the data, then show what became of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from runtime.data.prepare import Prepared, prepare
from runtime.data.preview import first_sample, masked_text, token_lines

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def preprocess(config: Any, as_json: bool) -> dict[str, Any]:
    """The `data` object of `launcher.preprocess/1`. Unless `as_json`, also shows a table and one sample with its mask on stdout."""
    from runtime.model.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(config)
    messages = Console(stderr=True)
    with messages.status("loading the data") as status:
        prepared = prepare(config, tokenizer, progress=lambda stage, done, total: status.update(f"{stage} {done:,} of {total:,}"))
    for warning in prepared.report.warnings:
        messages.print(f"warning: {warning['message']}\n  {warning['fix']}", style="yellow", markup=False, highlight=False)
    if not as_json:
        _show(prepared, tokenizer, Console(), int(config.sequence_len))
        if config.debug:
            _show_tokens(prepared, tokenizer, Console())
    report = asdict(prepared.report)
    data = {"prepared_path": str(prepared.path), **report, "warnings": list(report["warnings"])}
    if config.push_dataset_to_hub:
        from runtime.publish.hub.dataset import push_prepared

        with messages.status(f"pushing to {config.push_dataset_to_hub}"):
            pushed = push_prepared(config, prepared)
        messages.print(f"pushed and compared: {pushed.url}, commit {pushed.commit[:12]}", markup=False, highlight=False)
        data["hub"] = {"url": pushed.url, "commit": pushed.commit}
    return data


# As many samples as `debug: true` shows token by token.
_SHOWN = 5


def _show_tokens(prepared: Prepared, tokenizer: PreTrainedTokenizerBase, console: Console) -> None:
    for number in range(min(_SHOWN, len(prepared.train))):
        row = prepared.train[number]
        ids, labels = first_sample(row["input_ids"], row["labels"], row["position_ids"])
        console.print(f"\nrow {number}: token, label, text", highlight=False, markup=False)
        for line in token_lines(tokenizer, ids, labels):
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def _show(prepared: Prepared, tokenizer: PreTrainedTokenizerBase, console: Console, sequence_len: int) -> None:
    report = prepared.report
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("prepared", f"{prepared.path}{' (as it was)' if report.cached else ''}")
    table.add_row("rows", f"{report.rows_in:,} in, {report.train_rows:,} to train on, {report.validation_rows:,} to evaluate on")
    for reason, count in report.dropped.items():
        table.add_row("dropped", f"{count:,} {reason.replace('_', ' ')}")
    share = report.supervised_tokens / report.tokens if report.tokens else 0.0
    table.add_row(
        "tokens", f"{report.tokens:,}, of which {report.supervised_tokens:,} are trained ({share:.0%}); longest sample {report.longest:,}"
    )
    if report.packed_rows is not None and report.packing_efficiency is not None:
        table.add_row("packed", f"{report.packed_rows:,} rows of {sequence_len:,}, {report.packing_efficiency:.1%} full")
    table.add_row("seconds", ", ".join(f"{name} {value:.1f}" for name, value in report.seconds.items()))
    console.print(table)
    row = prepared.train[0]
    coloured = console.is_terminal and not console.no_color
    ids, labels = first_sample(row["input_ids"], row["labels"], row["position_ids"])
    console.print("\nfirst sample; " + ("green" if coloured else "what is between « and »") + " is trained:", highlight=False, markup=False)
    console.print(masked_text(tokenizer, ids, labels, coloured=coloured), soft_wrap=True)
