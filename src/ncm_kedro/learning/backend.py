"""Where and in what arithmetic a network runs."""

from __future__ import annotations

import torch

from ncm_kedro.errors import SettingsError


def choose_device(device: str) -> torch.device:
    """Resolve `auto`, `cpu` or `cuda`.

    Raises
    ------
    SettingsError
        CUDA is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "device",
            found="cuda on a machine without a usable GPU",
            expected="auto, or cpu here",
            action="set `device: auto`, or install a driver that this torch build supports",
        )
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """Resolve `auto`: bfloat16 where the device computes it natively, else float32."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        capability = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        native = bool(capability.get("amx_bf16") or capability.get("avx512_bf16"))
    return torch.bfloat16 if native else torch.float32
