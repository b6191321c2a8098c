"""Which layers of a model carry the most signal: Spectrum's scan of its weights.

Hartford et al., Spectrum: Targeted Training on Signal to Noise Ratio (2024, arXiv:2406.06623). The singular values of a random matrix end at a known edge
(Marchenko and Pastur); what lies above it is signal. Layers of the same kind are compared with each other only: an up projection against up projections.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

# The quartiles of a normal distribution are this many standard deviations apart. The paper takes the spread of the singular values themselves for the noise
# and measures it by their quartiles, which outliers do not move; the edge is Marchenko and Pastur's for that spread.
_QUARTILES_APART = 1.349
_SAMPLED = 257


def matrices(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The weight matrices of the numbered layers of `model` by parameter name; experts that share one tensor count as one.

    Embeddings, the head, norms and biases are not among them.
    """
    from torch import nn

    embeddings = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    for name, parameter in model.named_parameters():
        numbered = any(part.isdigit() for part in name.split("."))
        if numbered and name not in embeddings and parameter.ndim in (2, 3) and min(parameter.shape[-2:]) > 1:
            yield name, parameter


def signal_to_noise(weight: torch.Tensor) -> float:
    """The sum of the singular values above the noise over the sum of those within, divided by the largest; infinite without noise, 0 for zeros.

    `weight` is a matrix, or a stack of matrices, whose mean is returned. Computed in float64 from the eigenvalues of the smaller Gram matrix, many times
    faster than a decomposition; what that loses lies 8 digits below the largest singular value.
    """
    import torch

    if weight.ndim == 3:
        return sum(signal_to_noise(matrix) for matrix in weight) / len(weight)
    matrix = weight.detach().to(torch.float64)
    short, long = sorted(matrix.shape)
    gram = matrix @ matrix.T if matrix.shape[0] == short else matrix.T @ matrix
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    low, high = torch.quantile(values, torch.tensor([0.25, 0.75], dtype=values.dtype, device=values.device))
    edge = (high - low) / _QUARTILES_APART * (1 + math.sqrt(short / long))
    signal, noise, largest = (float(x) for x in (values[values > edge].sum(), values[values <= edge].sum(), values[-1]))
    if largest == 0:
        return 0.0
    return math.inf if noise == 0 else signal / noise / largest


def kind_of(name: str) -> str:
    """What layers are compared by: the parameter's name without the numbers of layers and experts."""
    return ".".join("#" if part.isdigit() else part for part in name.split("."))


def strongest(ratios: Mapping[str, float], fraction: float) -> list[str]:
    """The share `fraction` of each kind with the highest ratios, at least one of each; of equal ones those that come first. In the order of `ratios`."""
    kinds: dict[str, list[str]] = {}
    for name in ratios:
        kinds.setdefault(kind_of(name), []).append(name)
    chosen: set[str] = set()
    for names in kinds.values():
        # 0.29 × 100 is 28.999… in floating point.
        count = max(1, math.floor(len(names) * fraction + 1e-9))
        chosen.update(sorted(names, key=lambda name: -ratios[name])[:count])
    return [name for name in ratios if name in chosen]


def patterns(chosen: Iterable[str], model: nn.Module) -> list[str]:
    """Patterns of every parameter that trains: the `chosen` matrices with their biases, the embeddings and the head."""
    from torch import nn

    owners = [name.removesuffix(".weight") if name.endswith(".weight") else name for name in chosen]
    outer = [name for name, module in model.named_modules() if isinstance(module, nn.Embedding) or module is _head(model)]
    return [rf"{re.escape(owner)}(\.weight|\.bias)?$" for owner in (*owners, *outer)]


def fingerprint(model: nn.Module) -> str:
    """Hex digest that differs for models whose scanned weights differ: of names, shapes and a few numbers of every matrix."""
    import torch

    digest = hashlib.sha256()
    for name, weight in matrices(model):
        flat = weight.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // _SAMPLED)].to("cpu", torch.float32)
        digest.update(f"{name} {tuple(weight.shape)}".encode() + some.numpy().tobytes())
    return digest.hexdigest()


def _head(model: nn.Module) -> object:
    output = getattr(model, "get_output_embeddings", None)
    return output() if output is not None else None
