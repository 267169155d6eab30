"""Where tensors are computed, and in which precision."""

import torch

from unmask.errors import UsageError


def pick_device(device: str) -> torch.device:
    """A torch device by name; "auto" is the GPU where there is one.

    Raises:
        UsageError: there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
        torch.zeros(1, device=picked)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} is not to be had here") from error
    return picked


def fast_precision(device: torch.device) -> str:
    """What a device is fast in: "float16" on CUDA, "bfloat16" on CPUs that multiply in it
    (AVX512-BF16, AMX), else "float32". docs/benchmarks.md has what it gains and what it costs.
    """
    if device.type == "cuda":
        return "float16"
    multiplies = any(
        getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile")
    )
    return "bfloat16" if device.type == "cpu" and multiplies else "float32"


def autocast(device: torch.device, precision: str = "auto") -> torch.autocast:
    """Run in "float32", "bfloat16" or "float16", or in what the device is fast in ("auto")."""
    if precision == "auto":
        precision = fast_precision(device)
    if precision == "float32":
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, getattr(torch, precision))
