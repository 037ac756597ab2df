"""Optimizers: equal to Keras step for step, also where the learning rate changes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from fgraph import optimizers
from fgraph.optimizers.learning_rate import with_learning_rate

TABLE = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"weight_decay": 0.01}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.5}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"epsilon": 1e-2, "rho": 0.8}),
    ("Adam", {}),
    ("Adam", {"epsilon": 1e-2}),
    ("Adam", {"amsgrad": True}),
    ("Adam", {"weight_decay": 0.02}),
    ("Adam", {"clipvalue": 0.1}),
    ("Adam", {"clipnorm": 0.1}),
    ("Adam", {"global_clipnorm": 0.1}),
    ("AdamW", {}),
    ("Adagrad", {}),
    ("Adagrad", {"weight_decay": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("Adamax", {}),
    ("Adamax", {"epsilon": 1e-2}),
    ("Nadam", {}),
    ("Nadam", {"weight_decay": 0.01}),
    ("Lion", {}),
    ("Lion", {"beta_1": 0.5, "weight_decay": 0.1}),
    ("Lamb", {"learning_rate": 0.1}),
    ("Lamb", {"epsilon": 1e-2, "weight_decay": 0.1}),
    ("Ftrl", {"learning_rate": 0.1}),
    (
        "Ftrl",
        {
            "learning_rate_power": -0.7,
            "l1_regularization_strength": 0.01,
            "l2_regularization_strength": 0.02,
            "l2_shrinkage_regularization_strength": 0.03,
            "beta": 0.1,
        },
    ),
    ("Adafactor", {"learning_rate": 0.1}),
    ("Adafactor", {"clip_threshold": 1.5, "beta_2_decay": -0.5, "weight_decay": 0.1}),
    ("Adam", {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3}),
    ("SGD", {"use_ema": True, "ema_overwrite_frequency": 7}),
]


def _gradients(step: int) -> list[torch.Tensor]:
    """Gradients of very different sizes, some zero, so that each epsilon matters."""
    generator = torch.Generator().manual_seed(step)
    scales = (1e-7, 1e-3, 1.0)
    return [s * torch.randn(3, 2, generator=generator) * (step % 3 > 0) for s in scales]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(("name", "settings"), TABLE)
def test_steps_equal_keras(keras, name, settings):
    """Twenty steps, with the learning rate halved in the middle."""
    start = [torch.randn(3, 2) for _ in range(3)]
    variables = [keras.Variable(p.numpy().copy()) for p in start]
    theirs = getattr(keras.optimizers, name)(**settings)
    theirs.build(variables)
    params = [nn.Parameter(p.clone()) for p in start]
    ours = getattr(optimizers, name)(**settings)(params)
    for step in range(20):
        if step == 10:
            theirs.learning_rate = float(theirs.learning_rate) / 2
            for group in ours.param_groups:
                group["lr"] /= 2
        gradients = _gradients(step)
        theirs.apply([g.clone() for g in gradients], variables)
        for p, g in zip(params, gradients, strict=True):
            p.grad = g.clone()
        ours.step()
    for p, v in zip(params, variables, strict=True):
        torch.testing.assert_close(p.detach(), v.value.detach(), rtol=2e-5, atol=2e-7)


@pytest.mark.parametrize(
    "name",
    ["SGD", "RMSprop", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "Nadam", "Lion", "Lamb",
     "Ftrl", "Adafactor", "Muon"],
)  # fmt: skip
def test_names_have_keras_default_rates(keras, name):
    """In any case."""
    expected = float(getattr(keras.optimizers, name)().learning_rate)
    for spelling in (name, name.lower()):
        optimizer = optimizers.get(spelling)([nn.Parameter(torch.zeros(1))])
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def _trained(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], steps: range) -> None:
    for step in steps:
        for p, g in zip(params, _gradients(step), strict=True):
            p.grad = g.clone()
        optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamax", "nadam", "adagrad"])
def test_state_dict_continues_bit_for_bit(name):
    """The counters are in it too."""
    start = [torch.randn(3, 2) for _ in range(3)]
    whole = [nn.Parameter(p.clone()) for p in start]
    make = optimizers.get(name)
    optimizer = make(whole)
    _trained(optimizer, whole, range(4))
    state, halfway = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in whole]
    _trained(optimizer, whole, range(4, 9))
    resumed = [nn.Parameter(p) for p in halfway]
    second = make(resumed)
    second.load_state_dict(state)
    _trained(second, resumed, range(4, 9))
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copied_adam_keeps_its_epsilon(copied):
    """torch drops hooks when it copies an optimizer."""
    params = [nn.Parameter(torch.ones(3, 2)) for _ in range(3)]
    optimizer = optimizers.Adam(epsilon=0.1)(params)
    second = copied(optimizer)
    others = second.param_groups[0]["params"]
    _trained(optimizer, params, range(3))
    _trained(second, others, range(3))
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))


def test_adam_runs_fused():
    """torch's fastest implementation."""
    optimizer = optimizers.Adam()([nn.Parameter(torch.zeros(1))])
    assert optimizer.defaults["fused"]


def test_parameters_without_gradient_stay():
    """As in torch."""
    p, q = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = optimizers.RMSprop(weight_decay=0.1)([p, q])
    p.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(q, torch.ones(2))
    assert not torch.equal(p, torch.ones(2))


REFUSED = [
    (lambda: optimizers.get("adm"), ValueError, "unknown optimizer 'adm'; did you mean 'adam'"),
    (lambda: optimizers.get(3), TypeError, "an optimizer must be a name"),
    (
        lambda: optimizers.Adam(learning_rate=-1),
        ValueError,
        r"learning_rate of Adam must be in \[0, inf\), got -1",
    ),
    (lambda: optimizers.Adam(learning_rate="1"), TypeError, "learning_rate of Adam must be a num"),
    (lambda: optimizers.Adam(beta_1=1.0), ValueError, r"beta_1 of Adam must be in \[0, 1\)"),
    (lambda: optimizers.SGD(momentum=2), ValueError, r"momentum of SGD must be in \[0, 1\]"),
    (lambda: optimizers.Adam(clipnorm=1, clipvalue=1), ValueError, "give only one of clipnorm"),
    (lambda: optimizers.Adam(lr=0.1), TypeError, "Adam has no 'lr': write learning_rate="),
    (
        lambda: optimizers.Adam().apply([], []),
        AttributeError,
        r"no 'apply': it holds settings.*optimizers.Adam\(...\)\(model.parameters\(\)\)",
    ),
    (lambda: optimizers.Adam().aply, AttributeError, "'Adam' object has no attribute 'aply'"),
    (lambda: optimizers.Adam(beta1=0.1), TypeError, "unknown argument 'beta1'; did you mean"),
    (lambda: optimizers.SGD(clip_norm=1), TypeError, "unknown argument 'clip_norm'; did you mean"),
    (lambda: optimizers.SGD(clipnorm=-1), ValueError, r"clipnorm of SGD must be in \(0, inf\]"),
    (lambda: optimizers.SGD(weight_decay=-1), ValueError, r"weight_decay of SGD must be in \[0"),
    (lambda: optimizers.RMSprop(rho=2), ValueError, r"rho of RMSprop must be in \[0, 1\]"),
    (lambda: optimizers.RMSprop(momentum=-1), ValueError, r"momentum of RMSprop must be in"),
    (lambda: optimizers.Adam(epsilon=-1), ValueError, r"epsilon of Adam must be in \[0"),
    (lambda: optimizers.Adam(optimizers.schedules.CosineDecay), TypeError, "must be a number"),
    (lambda: optimizers.Adam(use_ema=True, ema_momentum=2), ValueError, "ema_momentum of Adam"),
    (lambda: optimizers.Muon(rms_rate=None), ValueError, "rms_rate of Muon must be 0.2"),
]


@pytest.mark.parametrize(("make", "error", "text"), REFUSED)
def test_bad_settings_are_refused(make, error, text):
    """By name."""
    with pytest.raises(error, match=text):
        make()


def _both(keras, name, settings, start, path="kernel"):
    """An optimizer in Keras and here, with equal parameters."""
    variables = [keras.Variable(p.numpy().copy(), name=path) for p in start]
    theirs = getattr(keras.optimizers, name)(**settings)
    theirs.build(variables)
    params = [nn.Parameter(p.clone()) for p in start]
    return theirs, variables, getattr(optimizers, name)(**settings), params


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_muon_is_torchs_for_matrices_and_keras_adamw_for_the_rest(keras):
    """torch orthogonalises in bfloat16, so matrices are equal to two digits."""
    start = [torch.randn(4, 6), torch.randn(5)]
    settings = {"learning_rate": 0.1}
    theirs, variables, factory, params = _both(keras, "Muon", settings, start)
    ours = factory(params)
    for _ in range(5):
        gradients = [torch.randn_like(p) for p in start]
        theirs.apply([g.clone() for g in gradients], variables)
        for p, g in zip(params, gradients, strict=True):
            p.grad = g.clone()
        ours.step()
    matrix, vector = (v.value.detach() for v in variables)
    torch.testing.assert_close(params[0].detach(), matrix, rtol=0.03, atol=0.02)
    torch.testing.assert_close(params[1].detach(), vector, rtol=2e-5, atol=2e-6)


def test_muon_tells_embeddings_by_their_names():
    """As in Keras they take AdamW."""
    model = nn.ModuleDict({"embedding_1": nn.Embedding(5, 4), "dense": nn.Linear(4, 3)})
    groups = optimizers.Muon()(model.named_parameters()).param_groups
    shapes = {group["muon"]: [tuple(p.shape) for p in group["params"]] for group in groups}
    assert shapes == {True: [(3, 4)], False: [(5, 4), (3,)]}


SCHEDULES = [
    ("ExponentialDecay", (0.1, 7, 0.5), {}),
    ("ExponentialDecay", (0.1, 7, 0.5), {"staircase": True}),
    ("InverseTimeDecay", (0.1, 7, 0.5), {}),
    ("InverseTimeDecay", (0.1, 7, 0.5), {"staircase": True}),
    ("PiecewiseConstantDecay", ([5, 9], [0.1, 0.01, 0.001]), {}),
    ("PolynomialDecay", (0.1, 10), {}),
    ("PolynomialDecay", (0.1, 10, 0.01, 2.0), {"cycle": True}),
    ("CosineDecay", (0.1, 10), {}),
    ("CosineDecay", (0.1, 10, 0.2), {"warmup_target": 0.5, "warmup_steps": 4}),
    ("CosineDecayRestarts", (0.1, 4), {}),
    ("CosineDecayRestarts", (0.1, 4), {"t_mul": 1.0, "m_mul": 0.5, "alpha": 0.1}),
    ("CosineDecayRestarts", (0.1, 4), {"t_mul": 1.5, "m_mul": 0.9}),
]


@pytest.mark.parametrize(("name", "arguments", "settings"), SCHEDULES)
def test_schedules_equal_keras(keras, name, arguments, settings):
    """At each of the first 30 steps."""
    theirs = getattr(keras.optimizers.schedules, name)(*arguments, **settings)
    ours = getattr(optimizers.schedules, name)(*arguments, **settings)
    for step in range(30):
        assert ours(step) == pytest.approx(float(theirs(step)), rel=2e-5, abs=1e-8), step
    twin = type(ours).from_config(ours.get_config())
    assert [twin(step) for step in range(30)] == [ours(step) for step in range(30)]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_scheduled_steps_equal_keras(keras, name):
    """The first step has the rate of step 0; reading gives that of the next one."""
    make = {"ours": optimizers.schedules, "theirs": keras.optimizers.schedules}
    start = [torch.randn(3, 2) for _ in range(3)]
    rates = {key: room.PolynomialDecay(0.1, 6, 0.01) for key, room in make.items()}
    theirs, variables, _, params = _both(keras, name, {"learning_rate": rates["theirs"]}, start)
    ours = getattr(optimizers, name)(rates["ours"])(params)
    for step in range(9):
        assert float(ours.learning_rate) == pytest.approx(float(theirs.learning_rate))
        theirs.apply([g.clone() for g in _gradients(step)], variables)
        for p, g in zip(params, _gradients(step), strict=True):
            p.grad = g.clone()
        ours.step()
    for p, v in zip(params, variables, strict=True):
        torch.testing.assert_close(p.detach(), v.value.detach(), rtol=2e-5, atol=2e-7)
    with pytest.raises(TypeError, match="follows the schedule PolynomialDecay"):
        ours.learning_rate = 0.1


BAD_SCHEDULES = [
    (lambda s: s.CosineDecay(0.1, 0), "decay_steps of CosineDecay must be in"),
    (lambda s: s.PiecewiseConstantDecay([1], [0.1]), "needs one more value than boundaries"),
    (lambda s: s.PiecewiseConstantDecay([5, 1], [1, 2, 3]), "boundaries .* must increase"),
    (lambda s: s.CosineDecayRestarts(0.1, 5, t_mul=0.5), "t_mul of CosineDecayRestarts"),
]


@pytest.mark.parametrize(("make", "text"), BAD_SCHEDULES)
def test_bad_schedules_are_refused(make, text):
    """By name."""
    with pytest.raises(ValueError, match=text):
        make(optimizers.schedules)


EXTRAS = [
    {"clipvalue": 0.01},
    {"weight_decay": 0.1},
    {"use_ema": True, "ema_overwrite_frequency": 2},
    {"learning_rate": optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)},
]


@pytest.mark.parametrize("settings", EXTRAS, ids=lambda s: next(iter(s)))
@pytest.mark.parametrize("name", ["Adam", "Adagrad", "RMSprop"])
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "state_dict"])
def test_what_happens_around_steps_goes_on_in_copies(name, settings, how):
    """torch drops hooks when it copies an optimizer."""
    make = getattr(optimizers, name)(**settings)
    params = [nn.Parameter(torch.ones(3, 2)) for _ in range(3)]
    optimizer = make(params)
    _trained(optimizer, params, range(3))
    if how == "state_dict":
        others = [nn.Parameter(p.detach().clone()) for p in params]
        second = make(others)
        second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    else:
        copied = copy.deepcopy if how == "deepcopy" else lambda o: pickle.loads(pickle.dumps(o))
        second = copied(optimizer)
        others = second.param_groups[0]["params"]
    _trained(optimizer, params, range(3, 8))
    _trained(second, others, range(3, 8))
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Adagrad", "Muon"])
def test_parameters_are_left_out_of_the_weight_decay_by_name(name):
    """Or by themselves; a name that matches nothing is an error."""
    for way in ("names", "list", "nothing"):
        model = nn.Linear(2, 2)
        factory = getattr(optimizers, name)(learning_rate=0.1, weight_decay=0.5)
        if name == "Muon":
            factory.adam_weight_decay = 0.5
        if way == "names":
            factory.exclude_from_weight_decay(var_names=["bias"])
        elif way == "list":
            factory.exclude_from_weight_decay(var_list=[model.bias])
        before = {key: p.detach().clone() for key, p in model.named_parameters()}
        optimizer = factory(model.named_parameters())
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        decayed = {key: not torch.equal(p, before[key]) for key, p in model.named_parameters()}
        assert decayed == {"weight": True, "bias": way == "nothing"}
    factory.exclude_from_weight_decay(var_names="gamma")
    with pytest.raises(ValueError, match=r"no parameter has 'gamma' in its name; there are weight"):
        factory(model.named_parameters())


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optimizers.RMSprop(0.1)(p),
        lambda p: optimizers.RMSprop(0.1, momentum=0.9, weight_decay=0.1)(p),
        lambda p: optimizers.SGD(0.1, momentum=0.9)(p),
        lambda p: optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1)(p),
    ],
)
def test_steps_with_infinite_gradients_are_skipped_on_the_device(make, monkeypatch):
    """The scaler of float16 does not wait for the device, and the result is the same."""
    results = []
    for supports in (True, False):
        params = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))]
        optimizer = make(params)
        assert optimizer._step_supports_amp_scaling
        if not supports:
            monkeypatch.setattr(type(optimizer), "_step_supports_amp_scaling", False)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        scaler.scale(torch.ones(()))
        for step in range(5):
            for p in params:
                p.grad = 8.0 * torch.arange(1.0, len(p) + 1) * (torch.inf if step == 2 else 1)
            if step == 4:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update(8.0)
        results.append([p.detach() for p in params])
        monkeypatch.undo()
    for p, q in zip(*results, strict=True):
        torch.testing.assert_close(p, q)
        assert torch.isfinite(p).all()


def test_the_learning_rate_is_read_and_set_as_in_keras():
    """On any optimizer of torch, for all groups; the object stays what it was."""
    p, q = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([{"params": [p]}, {"params": [q], "lr": 0.5}], lr=0.1)
    same = with_learning_rate(optimizer)
    assert same is optimizer
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.learning_rate == 0.1
    optimizer.learning_rate = 0.0
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    optimizer.learning_rate.assign(0.25)
    assert optimizer.learning_rate.numpy() == 0.25
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        copied.learning_rate = 0.75
        assert copied.param_groups[1]["lr"] == 0.75
    assert optimizer.learning_rate == 0.25
    with pytest.raises(TypeError, match="learning_rate must be a number, got str"):
        optimizer.learning_rate = "0.1"


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "Lion"])
def test_iterations_count_steps(name):
    """As Keras's `optimizer.iterations`, also in copies."""
    params = [nn.Parameter(torch.ones(3, 2)) for _ in range(3)]
    optimizer = getattr(optimizers, name)()(params)
    assert optimizer.iterations == 0
    _trained(optimizer, params, range(4))
    assert optimizer.iterations == copy.deepcopy(optimizer).iterations == 4


@pytest.mark.parametrize("form", ["apply", "apply_gradients"])
def test_gradients_that_are_given_make_a_step(form):
    """As Keras's `train_step` on torch does; parameters without a gradient stay."""
    params = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    optimizer = optimizers.SGD(0.5)(params)
    params[2].grad = torch.ones(2)  # left from before
    grads, given = [torch.full((2,), 2.0), None], [params[1], params[0]]
    if form == "apply":
        optimizer.apply(grads, given)
    else:
        optimizer.apply_gradients(zip(grads, given, strict=True))
    assert [p.tolist() for p in params] == [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    assert optimizer.iterations == 1


def test_gradients_that_do_not_belong_to_the_parameters_are_refused():
    params = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    optimizer = optimizers.SGD()(params)
    with pytest.raises(ValueError, match="apply got 2 gradients for 3 parameters"):
        optimizer.apply([None, None])
    with pytest.raises(ValueError, match="apply got 1 parameters that the optimizer does not"):
        optimizer.apply([None], [nn.Parameter(torch.ones(2))])


def test_optimizers_that_count_nothing_say_so():
    """torch's own with momentum, for example."""
    params = [nn.Parameter(torch.ones(3, 2)) for _ in range(3)]
    optimizer = with_learning_rate(torch.optim.SGD(params, lr=0.1, momentum=0.9))
    _trained(optimizer, params, range(1))
    with pytest.raises(AttributeError, match="SGD does not count its iterations"):
        _ = optimizer.iterations
