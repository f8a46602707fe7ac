"""Tests compute as a trial does: with one thread."""

import torch

torch.set_num_threads(1)
