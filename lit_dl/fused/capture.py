"""Steps of a stack as a CUDA graph: recorded once, then replayed without Python."""

from __future__ import annotations

import torch

from lit_dl.fused.stack import Stack

_WARM_UP_STEPS = 3  # torch asks for a few, so that cuBLAS and the allocator have what they need before the capture


class CapturedSteps:
    """Steps with a full batch, captured as one CUDA graph.

    Valid while the stack has the same members or members written into their places. A smaller stack needs a new one.

    Args:
        stack: The stack, on a CUDA device, after `start_epoch`.
        steps: Steps in the graph.
    """

    def __init__(self, stack: Stack, steps: int) -> None:
        self.steps = steps
        kept = {name: tensor.clone() for name, tensor in stack.all_tensors().items()}
        stream = torch.cuda.Stream(stack.device)
        stream.wait_stream(torch.cuda.current_stream(stack.device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_STEPS):
                stack.step()
        torch.cuda.current_stream(stack.device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for _ in range(steps):
                stack.step()
        with torch.no_grad():
            for name, tensor in stack.all_tensors().items():
                tensor.copy_(kept[name])

    def replay(self) -> None:
        """Takes the next `steps` steps of the epoch."""
        self.graph.replay()


def train_epoch(stack: Stack, captured: CapturedSteps) -> None:
    """Trains the next epoch of each member: whole graphs, then the steps that are left, eagerly."""
    stack.start_epoch()
    graphs, rest = divmod(stack.tables.full, captured.steps)
    for _ in range(graphs):
        captured.replay()
    for _ in range(rest):
        stack.step()
    if stack.tables.rest:
        stack.last_step()
