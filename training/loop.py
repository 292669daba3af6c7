"""The loop of a training on one thread: a rate that rises and falls with the time, averaged weights, figures now and then."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import torch
from torch import nn

from augment import multiplies_bfloat16, update_average


def read_arguments(description: str, start: str) -> argparse.Namespace:
    """Arguments of a training on a pool; ``start`` says what it may go on from. One thread and the seed are set."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("pool", "held", "run"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help=f"continue from {start}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    cv2.setNumThreads(1)
    return arguments


def train(
    net: nn.Module,
    averaged: nn.Module,
    arguments: argparse.Namespace,
    loss_of: Callable[[nn.Module, float, bool], torch.Tensor],
    measure: Callable[[nn.Module, Path], dict[str, float]],
    file: str,
    memory: float,
    digits: int = 3,
) -> None:
    """Train for as long as was asked for, and keep the averaged weights.

    Parameters
    ----------
    net, averaged
        The network, and another of its kind that is measured.
    arguments
        As of `read_arguments`.
    loss_of
        Loss of the next batch, of the network, the progress from 0 to 1, and whether to compute in bfloat16.
    measure
        Figures of the averaged network on the held-out pool.
    file
        Name of the weights in the folder of the run.
    memory
        Largest share of the average that stays with each batch.
    digits
        Of what is printed.
    """
    net = net.to(memory_format=torch.channels_last)
    print(f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters", flush=True)
    average = {key: value.clone() for key, value in net.state_dict().items()}
    optimiser = torch.optim.AdamW(net.parameters(), arguments.rate, weight_decay=1e-2, fused=True)
    fast = multiplies_bfloat16()
    began, step, smooth, printed = time.monotonic(), 0, 0.0, time.monotonic()
    arguments.run.mkdir(parents=True, exist_ok=True)
    while True:
        progress = (time.monotonic() - began) / (arguments.minutes * 60)
        is_last = progress >= 1
        if is_last or time.monotonic() - printed > 180:
            printed = time.monotonic()
            averaged.load_state_dict(average)
            figures = measure(averaged.eval(), arguments.held)
            torch.save({"average": average, "step": step}, arguments.run / file)
            shown = " ".join(f"{key} {value:.{digits}f}" for key, value in figures.items())
            print(f"{progress:5.1%} step {step} loss {smooth:.{digits}f} held out: {shown}", flush=True)
        if is_last:
            break
        rate = arguments.rate * min(1.0, (step + 1) / 100) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.003)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = loss_of(net, progress, fast)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        smooth = smooth * 0.98 + loss.item() * 0.02 if step > 1 else loss.item()
        update_average(average, net, min(memory, (1 + step) / (20 + step)))
