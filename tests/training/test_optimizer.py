import copy

import pytest
import torch
from torch import nn

from pipeline.training.optimizer import Adam


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2))


def descend(module, optimizer, steps=20):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        module.zero_grad()
        module(torch.randn(4, 5, generator=generator)).square().sum().backward()
        optimizer.step()


def test_its_steps_are_those_of_torchs_adam(net):
    other = copy.deepcopy(net)
    descend(net, Adam(net, lr=0.01))
    descend(other, torch.optim.Adam(other.parameters(), lr=0.01))
    for ours, theirs in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_parameter_without_gradient_stays_as_with_torchs_adam(net):
    net[0].unused = nn.Parameter(torch.ones(3))
    test_its_steps_are_those_of_torchs_adam(net)
    assert net[0].unused.tolist() == [1, 1, 1]


def test_the_first_step_is_the_learning_rate_against_the_gradients_sign(net):
    # Algorithm 1: at step 1 the bias-corrected mean over the root of the square is g/|g|.
    before = [parameter.detach().clone() for parameter in net.parameters()]
    descend(net, Adam(net, lr=0.01), steps=1)
    for parameter, old in zip(net.parameters(), before, strict=True):
        assert torch.allclose(parameter, old - 0.01 * parameter.grad.sign(), atol=1e-6)


def test_a_restored_state_goes_on_bit_for_bit(net):
    optimizer = Adam(net, lr=0.01)
    descend(net, optimizer, steps=3)
    twin = copy.deepcopy(net)
    twins = Adam(twin, lr=0.01)
    twins.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    descend(net, optimizer)
    descend(twin, twins)
    for parameter, restored in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter, restored)


def backwards(tensor):
    return range(tensor.ndim)[::-1]


def test_parameters_and_gradients_may_lie_in_memory_in_any_order(net):
    other = copy.deepcopy(net)
    net[0].weight.data = net[0].weight.data.T.contiguous().T
    adam, theirs = Adam(net, lr=0.01), torch.optim.Adam(other.parameters(), lr=0.01)
    for _ in range(3):
        for of_net, of_other in zip(net.parameters(), other.parameters(), strict=True):
            of_other.grad = torch.linspace(-1, 2, of_other.numel()).view_as(of_other)
            of_net.grad = of_other.grad.permute(*backwards(of_other)).contiguous().permute(*backwards(of_other))
        adam.step()
        theirs.step()
    for of_net, of_other in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(of_net, of_other)
