"""The audit: what it predicts against training with zero gradients, what it says of many models, and of known traps."""

import copy
import inspect
import math
import random
import re
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import transformers as hf
from pretended_gpu import pretended_gpu
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FlatParameter, fully_shard

import weightdecay
from weightdecay import audit, parameter_groups
from weightdecay.audit import ADVICE, Group
from weightdecay.diagnose import SCHEDULES, diagnose, learning_rates
from weightdecay.optimizers import FLAG, MEANINGS

SPARED = {"bias", "gain", "scale", "token", "position", "marked"}
AdamW, Adam, SGD = torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD


def kinds(report) -> dict[str, list[str]]:
    """The names that a report warns of, by kind."""
    found = {}
    for kind, names, _ in report.warnings:
        found.setdefault(kind, []).extend(names)
    return found


def complaints(report) -> set[str]:
    """The names that decay and should not."""
    return {name for kind, names in kinds(report).items() if kind in SPARED for name in names}


def weights(dtype=torch.float32, rows=7):
    """A layer's weights, of all mantissas, small enough to be followed one by one."""
    return nn.Parameter(torch.randn(rows, 8, generator=torch.Generator().manual_seed(0)).to(dtype) * 0.1)


def trained(optimizer, rates):
    """The median of what an optimizer leaves of each weight when every gradient is zero."""
    (w,) = optimizer.param_groups[0]["params"]
    start = w.detach().double().clone()
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        w.grad = torch.zeros_like(w)
        optimizer.step()
    return (w.detach().double() / start).median().item()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


# What weight_decay means, by optimizer


def test_every_optimizer_of_pytorch_is_in_the_table_with_its_default_and_flag():
    theirs = {
        name: value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    assert set(theirs) == set(MEANINGS)
    for name, optimizer in theirs.items():
        accepted = inspect.signature(optimizer).parameters
        assert ("weight_decay" in accepted) == (MEANINGS[name].kind != "none")
        if MEANINGS[name].kind != "none":
            assert accepted["weight_decay"].default == MEANINGS[name].default
        assert (FLAG in accepted) == (MEANINGS[name].flag == FLAG)


def lost_to_decay(optimizer, gradient, **options):
    """What decay took of a weight of 1 after 30 steps along this gradient."""
    ends = []
    for lambd in (0.0, 0.1):
        w = nn.Parameter(torch.ones(2, 1, dtype=torch.double))
        stepping = optimizer([w], lr=1e-3, weight_decay=lambd, **options)
        for _ in range(30):
            w.grad = torch.full_like(w, gradient)
            stepping.step()
        ends.append(w[0].item())
    return ends[0] - ends[1]


@pytest.mark.parametrize("name", [name for name, meaning in MEANINGS.items() if meaning.kind != "none"])
@pytest.mark.parametrize("flagged", [False, True])
def test_the_table_says_what_training_shows(name, flagged):
    kind, optimizer = MEANINGS[name].kind, getattr(torch.optim, name)
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {"lambd": 0} if name == "ASGD" else {}
    if flagged and not MEANINGS[name].flag:
        with pytest.raises(TypeError, match=FLAG):
            optimizer([weights()], **{FLAG: True})
        return
    if flagged:
        kind, options = "decoupled", {FLAG: True}
    alone, beside = lost_to_decay(optimizer, 0.0, **options), lost_to_decay(optimizer, 1.0, **options)
    if kind == "normalised":  # a large gradient drowns λw
        assert abs(beside) < 0.3 * abs(alone)
    else:  # decay takes as much beside a gradient; what of that gradient it takes too is little
        assert beside == pytest.approx(alone, rel=0.1)
        multiplied = name == "SGD"  # which alone has momentum here that multiplies it
        assert (alone == pytest.approx(1 - (1 - 1e-4) ** 30, rel=1e-6)) != multiplied
    optimizer = optimizer([{"params": [weights()], "weight_decay": 0.1}], **options)
    assert audit(optimizer).groups[0].kind == kind


@pytest.mark.parametrize("name", [name for name, meaning in MEANINGS.items() if meaning.kind == "none"])
def test_a_weight_decay_that_the_optimizer_lacks_is_ignored_and_said(name):
    w = weights()
    optimizer = getattr(torch.optim, name)([w])
    optimizer.param_groups[0]["weight_decay"] = 0.1  # as groups made for another optimizer carry it
    report = audit(optimizer, steps=10)
    assert (report.groups[0].lambd, report.groups[0].left) == (0, 1)
    assert set(kinds(report)) == {"ignored"}
    if name == "Rprop":
        assert trained(optimizer, [0.1] * 10) == 1


# The prediction

CASES = [
    *[(name, {}) for name, meaning in MEANINGS.items() if meaning.kind != "none"],
    *[(name, {FLAG: True}) for name, meaning in MEANINGS.items() if meaning.flag],
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"momentum": 0.5, "dampening": 0.2}),
    ("ASGD", {"lambd": 0}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("Adam", {"amsgrad": True, "betas": (0.5, 0.9)}),
    ("Muon", {"adjust_lr_fn": "match_rms_adamw"}),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_factor_is_what_training_with_zero_gradients_leaves(name, options, dtype):
    w = weights(dtype)
    optimizer = getattr(torch.optim, name)([w], lr=2e-3, weight_decay=0.7, **options)
    (row,) = audit(optimizer, steps=150, schedule="warm-up and cosine").groups
    left = trained(optimizer, learning_rates(2e-3, 150, "warm-up and cosine"))
    assert row.left == pytest.approx(left, rel=1e-4)
    assert row.dtype == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("schedule", [*SCHEDULES, lambda t: 1 / (1 + t)])
@pytest.mark.parametrize("optimizer", [AdamW, Adam])
def test_every_schedule_is_followed(schedule, optimizer):
    optimizer = optimizer([weights()], lr=1e-3, weight_decay=0.7)
    rates = [1e-3 * schedule(t) for t in range(100)] if callable(schedule) else learning_rates(1e-3, 100, schedule)
    assert audit(optimizer, steps=100, schedule=schedule).groups[0].left == pytest.approx(
        trained(optimizer, rates), rel=1e-4
    )


def test_where_weights_differ_the_factor_is_the_median_over_a_whole_large_group():
    """Under Adam with L2 small weights are gone when large ones have hardly moved."""
    small, large = nn.Parameter(torch.randn(100, 60) * 0.02), nn.Parameter(torch.randn(100, 20))
    optimizer = Adam([small, large], lr=1e-4, weight_decay=0.01)
    start = torch.cat([small.flatten(), large.flatten()]).clone()
    (row,) = audit(optimizer, steps=100).groups
    for _ in range(100):
        small.grad, large.grad = torch.zeros_like(small), torch.zeros_like(large)
        optimizer.step()
    left = torch.cat([small.flatten(), large.flatten()]) / start
    assert row.left == pytest.approx(left.median().item(), abs=0.1)
    assert 0.1 < row.left < 0.8 < (large.flatten() / start[6000:]).median().item()


def test_complex_weights_are_followed():
    w = nn.Parameter(torch.randn(5, 4, dtype=torch.cfloat, generator=torch.Generator().manual_seed(0)))
    for optimizer in (AdamW([w], lr=0.01, weight_decay=0.1), Adam([w], lr=0.01, weight_decay=0.1)):
        (row,) = audit(optimizer, steps=20).groups
        start = w.detach().clone()
        for _ in range(20):
            w.grad = torch.zeros_like(w)
            optimizer.step()
        assert row.left == pytest.approx((w / start).real.median().item(), rel=1e-4)


def test_it_says_what_diagnose_says():
    found = diagnose(0.1, 1e-3, 2000, 0.9, "cosine", 100)
    (row,) = audit(SGD([weights()], lr=0.1, momentum=0.9, weight_decay=1e-3), steps=2000, schedule="cosine",
                   steps_per_epoch=100).groups  # fmt: skip
    assert (row.left, row.timescale, row.epochs) == pytest.approx(found[:3], rel=1e-12)
    assert row.momentum == pytest.approx(10)
    (row,) = audit(SGD([weights()], momentum=0.9, dampening=0.5, weight_decay=1e-3)).groups
    assert row.momentum == pytest.approx(5)


@pytest.mark.parametrize(("lr", "lambd", "dtype"), [(2e-5, 0.01, torch.float32), (0.01, 0.3, torch.bfloat16)])
def test_what_rounding_makes_of_decoupled_decay_is_told_to_the_last_bit(lr, lambd, dtype):
    w = weights(dtype)
    optimizer = AdamW([w], lr=lr, weight_decay=lambd)
    (row,) = audit(optimizer, steps=1000, schedule="linear").groups
    formula = diagnose(lr, lambd, 1000, schedule="linear").left
    assert row.left == trained(optimizer, learning_rates(lr, 1000, "linear"))
    assert abs(row.left - formula) > 0.01 * (1 - formula)


def test_an_attached_scheduler_does_not_hide_the_highest_rate():
    optimizer = AdamW([weights()], lr=0.01, weight_decay=0.1)
    torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001)
    assert audit(optimizer).groups[0].lr == 0.01


def test_tensors_as_settings_are_read():
    optimizer = SGD([weights()], lr=torch.tensor(0.1), weight_decay=torch.tensor(0.01))
    assert audit(optimizer, steps=10).groups[0].left == pytest.approx(0.999**10)


# Optimizers of others


class Lion(torch.optim.Optimizer):
    """Steps along the sign of the momentum; decoupled decay (Chen et al., arXiv:2302.06675)."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def decay(self, p, group):
        p.mul_(1 - group["lr"] * group["weight_decay"])

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                self.decay(p, group)
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                p.sub_(group["lr"] * (momentum * first + p.grad * (1 - first)).sign())
                momentum.mul_(second).add_(p.grad, alpha=1 - second)


class PapersAdamW(Lion):
    """Decays by λ itself, which follows the schedule of η, as AdamW's paper has it."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr, betas, weight_decay)
        for group in self.param_groups:
            group["initial_lr"] = group["lr"]

    def decay(self, p, group):
        p.mul_(1 - group["lr"] / group["initial_lr"] * group["weight_decay"])


class HeavyBall(Lion):
    """SGD with momentum and L2, under settings of other names."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
                velocity.mul_(group["betas"][0]).add_(p.grad + group["weight_decay"] * p)
                p.sub_(group["lr"] * velocity)


class Counting(Lion):
    """Keeps a list in its group."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr, betas, weight_decay)
        self.param_groups[0]["steps"] = []

    def decay(self, p, group):
        group["steps"].append(len(group["steps"]))


def test_what_an_unknown_optimizer_keeps_in_its_group_stays_as_it_is():
    optimizer = Counting([weights()], weight_decay=0.1)
    audit(optimizer, steps=3)
    assert optimizer.param_groups[0]["steps"] == []


class Needy(Lion):
    """Wants something that only its user has."""

    def __init__(self, params, cluster, lr=1e-4):
        super().__init__(params, lr, weight_decay=0.1)


class MyAdam(Adam):
    """A class of one's own may do anything, so it is tried out too."""


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [(Lion, "decoupled"), (PapersAdamW, "λ itself"), (HeavyBall, "coupled"), (MyAdam, "normalised")],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_unknown_optimizer_is_tried_out(optimizer, kind, dtype):
    w = weights(dtype)
    optimizer = optimizer([w], lr=2e-3, weight_decay=0.02)
    (row,) = audit(optimizer, steps=60, schedule="linear").groups
    assert row.kind == kind
    assert row.left == pytest.approx(trained(optimizer, learning_rates(2e-3, 60, "linear")), rel=1e-6)


def test_an_optimizer_that_takes_the_papers_lambda_is_found_out():
    report = audit(PapersAdamW([weights()], lr=1e-3, weight_decay=0.1), steps=100)
    assert "by 0.1" in next(advice for kind, _, advice in report.warnings if kind == "itself")
    assert report.groups[0].timescale == pytest.approx(10)
    assert report.groups[0].left == pytest.approx(0.9**100, rel=1e-3)


def test_what_cannot_be_tried_out_is_said_to_be_unknown():
    report = audit(Needy([weights()], cluster="here"), steps=10)
    (row,) = report.groups
    assert row.kind == "not known"
    assert math.isnan(row.left)
    assert "cluster" in kinds_advice(report)["unknown"]
    assert "—" in str(report)


def kinds_advice(report) -> dict[str, str]:
    """The sentence of each kind."""
    return {kind: advice for kind, _, advice in report.warnings}


def test_a_wrapped_optimizer_is_unwrapped():
    inner = AdamW([weights()], lr=0.01)
    wrapper = type("AcceleratedOptimizer", (), {"optimizer": inner})()
    assert str(audit(wrapper)) == str(audit(inner))


# Architectures, from small configurations with random weights

WORDS = {"vocab_size": 40, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
WIDE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
TEXT, IMAGE = WORDS | WIDE, WIDE | {"image_size": 32, "patch_size": 16}
KEYS = {"num_key_value_heads": 1, "head_dim": 16}


class Scaled(nn.Module):
    """LayerScale as timm has it."""

    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x):
        return x * self.gamma


class TinyViT(nn.Module):
    """A vision transformer in timm's style, which lists what not to decay."""

    def __init__(self, width=16):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, 8, stride=8)
        self.cls_token, self.reg_token = (nn.Parameter(torch.randn(1, n, width)) for n in (1, 2))
        self.pos_embed = nn.Parameter(torch.randn(1, 19, width))
        self.relation = nn.Parameter(torch.randn(19, width))  # nothing in the name or the shape gives it away
        self.norm, self.attn = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True, add_bias_kv=True)
        self.ls1, self.head = Scaled(width), nn.Linear(width, 4)

    def no_weight_decay(self):
        return {"pos_embed", "cls_token", "relation"}

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).mT
        tokens = (token.expand(len(x), -1, -1) for token in (self.cls_token, self.reg_token))
        x = torch.cat([*tokens, x], 1) + self.pos_embed + self.relation
        h = self.norm(x)
        return self.head((x + self.ls1(self.attn(h, h, h)[0])).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.lstm, self.out = nn.Embedding(40, 8), nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 40)

    def forward(self, x):
        return self.out(self.lstm(self.embed(x))[0])


class HeadFirst(nn.Module):
    """A language model that declares its output layer before the embedding to which it is tied."""

    def __init__(self):
        super().__init__()
        self.head, self.embed = nn.Linear(8, 40, bias=False), nn.Embedding(40, 8)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.embed(x))


def convnet():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip


def normed():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.ReLU(), nn.Linear(8, 1))


MODELS = {  # what makes it; a part of the names that only a careless optimizer decays; a part of those that decay
    "BERT": (lambda: hf.BertModel(hf.BertConfig(**TEXT)), ["position_embeddings.weight", "LayerNorm.weight"],
             ["word_embeddings.weight", "token_type_embeddings.weight"]),
    "GPT-2": (lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**WORDS, n_embd=32, n_layer=1, n_head=2)),
              ["wpe.weight", "ln_1.weight", "c_attn.bias"], ["wte.weight", "c_attn.weight"]),
    "Llama": (lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**TEXT)), ["input_layernorm.weight", "norm.weight"],
              ["embed_tokens.weight", "lm_head.weight", "q_proj.weight"]),
    "T5": (lambda: hf.T5Model(hf.T5Config(**WORDS, d_model=32, num_layers=1, num_heads=2, d_kv=16, d_ff=64)),
           ["relative_attention_bias.weight", "layer_norm.weight"], ["shared.weight", "wi.weight"]),
    "ViT": (lambda: hf.ViTModel(hf.ViTConfig(**IMAGE)), ["cls_token", "position_embeddings", "layernorm.weight"],
            ["projection.weight"]),
    "ResNet": (lambda: hf.ResNetModel(hf.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])),
               ["normalization.weight", "normalization.bias"], ["convolution.weight"]),
    "Mamba": (lambda: hf.MambaModel(hf.MambaConfig(**WORDS, hidden_size=32, num_hidden_layers=1, state_size=4)),
              ["norm_f.weight", "A_log", "mixer.D"], ["x_proj.weight", "conv1d.weight"]),
    "ConvNeXt": (lambda: hf.ConvNextModel(hf.ConvNextConfig(hidden_sizes=[8], depths=[1], num_stages=1)),
                 ["layer_scale_parameter", "layernorm.weight"], ["dwconv.weight"]),
    "ConvNeXt V2": (lambda: hf.ConvNextV2Model(hf.ConvNextV2Config(hidden_sizes=[8], depths=[1], num_stages=1)),
                    ["grn.weight", "grn.bias"], ["dwconv.weight"]),
    "DeBERTa": (lambda: hf.DebertaModel(hf.DebertaConfig(**TEXT, relative_attention=True, pos_att_type="c2p|p2c")),
                ["q_bias", "v_bias", "rel_embeddings.weight"], ["in_proj.weight", "pos_proj.weight"]),
    "Gemma 3": (lambda: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**TEXT, **KEYS)), ["q_norm.weight", "norm.weight"],
                ["embed_tokens.weight"]),
    "CLIP": (lambda: hf.CLIPModel(hf.CLIPConfig(text_config=TEXT, vision_config=IMAGE, projection_dim=16)),
             ["logit_scale", "class_embedding", "position_embedding.weight"], ["token_embedding.weight"]),
    "Swin V2": (lambda: hf.Swinv2Model(hf.Swinv2Config(image_size=32, embed_dim=16, depths=[1], num_heads=[2],
                                                       window_size=4)),
                ["logit_scale"], ["continuous_position_bias_mlp.0.weight"]),
    "Swin": (lambda: hf.SwinModel(hf.SwinConfig(image_size=32, embed_dim=16, depths=[1], num_heads=[2])),
             ["relative_position_bias_table"], ["q_proj.weight"]),
    "Cohere": (lambda: hf.CohereForCausalLM(hf.CohereConfig(**TEXT, use_qk_norm=True)),
               ["q_norm.weight", "k_norm.weight"], ["q_proj.weight"]),  # gains that are matrices
    "gpt-oss": (lambda: hf.GptOssForCausalLM(hf.GptOssConfig(**TEXT, **KEYS, num_local_experts=2)),
                ["gate_up_proj_bias", "sinks"], ["gate_up_proj", "router.weight"]),
    "timm's style": (TinyViT, ["in_proj_bias", "bias_k", "cls_token", "reg_token", "pos_embed", "relation", "gamma"],
                     ["in_proj_weight", "patch_embed.weight"]),
    "PyTorch's Transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 8), ["in_proj_bias", "norm1.weight"],
                              ["in_proj_weight", "linear1.weight"]),
    "LSTM": (Recurrent, ["bias_ih_l0", "bias_hh_l0"], ["weight_ih_l0", "embed.weight"]),
    "BatchNorm": (convnet, ["1.weight", "5.weight", "0.bias"], ["0.weight", "4.weight"]),
    "weight norm": (normed, ["0.bias"], ["original0", "original1", "2.weight"]),
    "tied": (HeadFirst, [], ["head.weight"]),
}  # fmt: skip


def ends(names, parts):
    """Which of these parts no name ends with."""
    return [part for part in parts if not any(f".{name}".endswith(f".{part}") for name in names)]


@pytest.mark.parametrize("name", MODELS)
def test_the_audit_has_nothing_to_say_against_its_own_groups_and_much_against_one_group(name):
    make, spared, decays = MODELS[name]
    model = make()
    decayed, exempt = parameter_groups(model, 0.1)
    report = audit(AdamW([decayed, exempt], lr=1e-3), model, steps=5000)
    assert not complaints(report)
    assert set(kinds(report)) <= {"tied"}
    careless = audit(AdamW(model.parameters(), lr=1e-3, weight_decay=0.1), model, steps=5000)
    assert complaints(careless) == set(exempt["names"])
    assert ends(exempt["names"], spared) == []
    assert ends(decayed["names"], decays) == []
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert sorted(map(id, [*decayed["params"], *exempt["params"]])) == sorted(map(id, trainable))
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.1, 0)


def test_a_model_on_the_meta_device_is_audited_too():
    with torch.device("meta"):
        model = hf.BertModel(hf.BertConfig())
    report = audit(Adam(parameter_groups(model, 0.1), lr=1e-4), model, steps=50, data=torch.zeros(1, 2, dtype=int))
    assert report.groups[0].left == pytest.approx(1 - 50 * 1e-4, abs=1e-4)  # of a weight of 1
    assert sum(row.share for row in report.groups) == pytest.approx(1)
    assert set(kinds(report)) == {"normalised", "untested"}


# Weights before a normalisation

IDS = torch.arange(1, 37).reshape(4, 9)


def invariant(model, data):
    return kinds(audit(SGD(model.parameters(), lr=0.1, weight_decay=0.1), model, data=data)).get("invariant", [])


def test_weights_before_a_normalisation_are_found_by_scaling_them():
    x = torch.randn(8, 3, 8, 8)
    model = convnet()
    assert invariant(model, x) == ["0.weight"]  # GroupNorm does not take away the bias of 4
    nn.init.zeros_(model[4].bias)
    assert invariant(model, x) == ["0.weight", "4.weight"]
    assert invariant(model.double(), (x.double(),)) == ["0.weight", "4.weight"]
    assert invariant(normed(), torch.randn(8, 8)) == ["0.parametrizations.weight.original1"]
    assert invariant(Recurrent(), IDS) == []
    assert invariant(nn.Sequential(nn.Linear(8, 8), nn.Tanh()), 10 * torch.randn(8, 8)) == []  # saturated, no norm


def test_what_is_invariant_for_small_weights_alone_is_not_called_so():
    class Nearly(nn.Linear):
        """Normalises what is linear as long as it is small."""

        def forward(self, x):
            h = super().forward(x)
            return nn.functional.normalize(h + 1e-3 * h**2)

    assert invariant(Nearly(8, 8, bias=False), torch.randn(4, 8)) == []


def test_what_the_output_hardly_depends_on_is_left_out():
    """The blocks of a ConvNeXt begin with a LayerScale of 1e-6; their convolutions stand before a LayerNorm."""
    found = invariant(MODELS["ConvNeXt"][0](), torch.randn(2, 3, 32, 32))
    assert found == ["embeddings.patch_embeddings.weight"]


def test_batch_normalisation_is_tested_as_it_trains():
    model = convnet()[:4].eval()  # in evaluation, the running statistics do not follow the weights
    assert invariant(model, torch.randn(8, 3, 8, 8)) == ["0.weight"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_queries_and_keys_that_are_normalised_are_found_in_gemma_and_not_in_llama(dtype):
    gemma, llama = (MODELS[name][0]().to(dtype) for name in ("Gemma 3", "Llama"))
    assert ends(invariant(gemma, {"input_ids": IDS}), ["q_proj.weight", "k_proj.weight"]) == []
    assert len(invariant(gemma, {"input_ids": IDS})) == 2
    assert invariant(llama, {"input_ids": IDS}) == []


def test_a_model_that_draws_its_mask_with_numpy_is_tested_too():
    config = hf.Wav2Vec2Config(
        **TEXT, conv_dim=[16, 16], conv_kernel=[10, 3], conv_stride=[5, 2], num_feat_extract_layers=2,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    found = invariant(hf.Wav2Vec2Model(config), torch.randn(2, 3000))
    assert ends(found, ["pos_conv_embed.conv.parametrizations.weight.original1", "conv_layers.0.conv.weight"]) == []


def test_chance_is_the_same_for_every_pass_whoever_draws_it():
    class Chancy(nn.Sequential):
        def forward(self, x):
            return super().forward(x * random.random() + np.random.rand() * torch.rand(8))

    model = Chancy(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    before = random.getstate()[1], list(np.random.get_state()[1]), torch.get_rng_state().tolist()
    assert invariant(model, torch.randn(8, 8, generator=torch.Generator())) == ["0.weight"]
    assert before == (random.getstate()[1], list(np.random.get_state()[1]), torch.get_rng_state().tolist())


# It changes nothing


def test_it_changes_nothing():
    model = convnet()
    model[1].eval()
    optimizer = AdamW(model.parameters(), lr=torch.tensor(0.1), weight_decay=0.1)
    model(torch.randn(8, 3, 8, 8)).sum().backward()
    optimizer.step()
    model[0].weight.grad = None

    def everything():
        return copy.deepcopy(
            [
                model.state_dict(),
                [p.grad for p in model.parameters()],
                [p._version for p in model.parameters()],
                [buffer._version for buffer in model.buffers()],
                [module.training for module in model.modules()],
                optimizer.state_dict(),
                [list(map(id, group["params"])) for group in optimizer.param_groups],
                torch.get_rng_state(),
                list(np.random.get_state()[1]),
                list(random.getstate()[1]),
            ]
        )

    before = everything()
    report = audit(optimizer, model, steps=20, data=torch.randn(8, 3, 8, 8, generator=torch.Generator()))
    assert "0.weight" in kinds(report)["invariant"]
    torch.testing.assert_close(everything(), before, rtol=0, atol=0, equal_nan=True)


def test_a_model_that_fails_is_put_back_into_its_mode():
    model = convnet().eval()
    with pytest.raises(ValueError, match="without targets"):
        audit(AdamW(model.parameters()), model, data=torch.zeros(1, 5, 8, 8))
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_model_on_a_gpu_is_audited_there(kind, monkeypatch):
    states = []

    def fork_rng(devices, device_type):
        states.append((devices, device_type))
        return nullcontext()

    monkeypatch.setattr(torch.random, "fork_rng", fork_rng)  # which wants a real one
    with pretended_gpu(kind):
        model = convnet().to(kind)
        model[3].p = 0.0
        for optimizer in (AdamW, Adam):
            optimizer = optimizer(model.parameters(), lr=0.01, weight_decay=0.1)
            report = audit(optimizer, model, steps=10, data=torch.randn(8, 3, 8, 8).to(kind))
            assert kinds(report)["invariant"] == ["0.weight"]
            assert report.groups[0].left < 1
    assert states[0] == ([0], kind)


# Traps


def test_parameters_in_no_group_and_of_another_model_are_named():
    model, other = normed(), normed()
    optimizer = AdamW([*model[0].parameters(), *other[2].parameters()], weight_decay=0)
    report = audit(optimizer, model)
    assert kinds(report)["missing"] == ["2.weight", "2.bias"]
    assert kinds(report)["stranger"] == ["group 0, parameter 3, 1×8", "group 0, parameter 4, 1"]
    numbers = sum(p.numel() for p in [*model.parameters(), *other[2].parameters()])
    assert report.groups[0].share == report.groups[0].numbers / numbers < 1
    for p in model[2].parameters():
        p.requires_grad_(False)
    assert "missing" not in kinds(audit(optimizer, model))


def test_a_parameter_in_two_groups_decays_twice():
    model = nn.Linear(4, 4, bias=False)
    optimizer = AdamW(model.parameters(), weight_decay=0.1)
    optimizer.param_groups.append(copy.copy(optimizer.param_groups[0]))  # add_param_group refuses
    assert kinds(audit(optimizer, model))["twice"] == ["weight"]


def test_two_parameters_over_one_memory_decay_twice():
    model = HeadFirst()
    model.head.weight = nn.Parameter(model.embed.weight.data)
    assert kinds(audit(SGD(model.parameters(), weight_decay=0.1), model))["twice"] == ["embed.weight"]


def test_an_embedding_that_is_listed_as_the_output_layer_is_pointed_out():
    model = HeadFirst()
    decayed, spared = parameter_groups(model, 0.1)
    assert (decayed["names"], spared["names"]) == (["head.weight"], [])
    assert kinds(audit(AdamW([decayed, spared]), model)) == {"tied": ["head.weight"]}
    decayed, spared = parameter_groups(model, 0.1, spare=["embed"])
    assert (decayed["names"], spared["names"]) == ([], ["head.weight"])
    assert audit(AdamW([spared]), model).warnings == []
    gpt2 = MODELS["GPT-2"][0]()  # tied as well, and listed as the embedding
    assert "tied" not in kinds(audit(AdamW(gpt2.parameters()), gpt2))


def test_a_frozen_layer_that_is_listed_drifts_once_its_gradient_is_zero():
    model = nn.Linear(4, 4, bias=False).requires_grad_(False)
    optimizer = AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    report, start = audit(optimizer, model, steps=100), model.weight.clone()
    assert kinds(report) == {"frozen": ["weight"]}
    for gradient, left in ((None, 1), (torch.zeros(4, 4), report.groups[0].left)):
        model.weight.grad = gradient
        for _ in range(100):
            optimizer.step()
        torch.testing.assert_close(model.weight, start * left)
    assert report.groups[0].left == pytest.approx(0.366, abs=1e-3)


def test_bfloat16_loses_the_decay_and_float32_does_not():
    lost, kept = (
        audit(AdamW([weights(dtype)], lr=0.01, weight_decay=0.1), steps=1000)
        for dtype in (torch.bfloat16, torch.float32)
    )
    assert (lost.groups[0].left, round(kept.groups[0].left, 3)) == (1, 0.368)
    assert set(kinds(lost)) == {"rounding"}
    assert "0.3677" in kinds_advice(lost)["rounding"]
    assert "float32" in kinds_advice(lost)["rounding"]
    assert kept.warnings == []


def test_a_tenth_more_or_less_through_rounding_is_no_loss():
    report = audit(AdamW([weights()], lr=2e-5, weight_decay=0.01), steps=80_000)
    formula = diagnose(2e-5, 0.01, 80_000).left
    assert 0.03 < abs(report.groups[0].left - formula) / (1 - formula) < 0.25
    assert report.warnings == []


@pytest.mark.parametrize(("dtype", "edge"), [(torch.bfloat16, 2**-9), (torch.float16, 2**-12), (torch.float32, 2**-25)])
def test_without_a_number_of_steps_the_edge_is_a_quarter_of_the_dtypes_spacing(dtype, edge):
    said = [
        "rounding" in kinds(audit(AdamW([weights(dtype)], lr=1e-9, weight_decay=1e9 * edge * by))) for by in (0.9, 1.1)
    ]
    assert said == [True, False]


def test_mixed_dtypes_have_rows_of_their_own():
    optimizer = AdamW([weights(), weights(torch.bfloat16)], lr=0.01, weight_decay=0.1)
    rows = audit(optimizer, steps=1000).groups
    assert [(row.group, row.dtype, row.left < 0.5) for row in rows] == [(0, "float32", True), (0, "bfloat16", False)]


def test_a_flat_parameter_escapes_every_rule():
    long, named = nn.Module(), nn.Module()
    long.weights = nn.Parameter(torch.zeros(2**20 + 1))
    named.flat = FlatParameter(torch.zeros(3))
    for model in (long, named):
        for lambd in (0, 0.1):
            report = audit(AdamW(model.parameters(), weight_decay=lambd), model)
            assert set(kinds(report)) == {"flat"}
        with pytest.raises(ValueError, match="is a flat parameter, many tensors in one"):
            parameter_groups(model, 0.1)


def test_a_flat_parameter_that_kept_its_names_escapes_too():
    """FSDP1 with use_orig_params=True: the names of before, and each tensor a piece of one vector."""
    model = nn.ModuleDict({"_fsdp_wrapped_module": nn.Module()})
    model["_fsdp_wrapped_module"].weight = nn.Parameter(torch.zeros(12))
    found = kinds(audit(AdamW([{"params": []}, {"params": model.parameters(), "weight_decay": 0}]), model))
    assert found == {"empty": ["group 0"], "flat": ["_fsdp_wrapped_module.weight"]}
    with pytest.raises(ValueError, match="note the names of the groups before wrapping"):
        parameter_groups(model, 0.1)


def test_a_decay_that_reaches_nothing_is_pointed_out():
    groups = [{"params": [nn.Parameter(torch.zeros(0, 2))]}, {"params": [weights()], "weight_decay": 0}]
    assert kinds(audit(AdamW(groups))) == {"empty": ["group 0"]}
    assert "empty" not in kinds(audit(AdamW([*groups, {"params": [weights()]}])))


def test_the_highest_learning_rate_is_that_of_the_schedule():
    optimizer = AdamW([weights()], lr=0.1, weight_decay=0.1)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=100)
    (row,) = audit(optimizer, steps=100).groups
    assert (row.lr, row.timescale) == (0.01, pytest.approx(1000))
    assert row.left == pytest.approx(0.999**100)


def test_fused_adamw_decays_in_bfloat16_what_an_update_moves():
    """It rounds once a step, the others after the decay and after the update."""
    kept, advice = {}, {}
    for fused in (False, True):
        for lambd in (0.0, 0.1):
            rng = torch.Generator().manual_seed(0)
            w = nn.Parameter(torch.full((20_000,), 0.5, dtype=torch.bfloat16))
            optimizer = AdamW([w], lr=0.01, weight_decay=lambd, fused=fused)
            for _ in range(200):
                w.grad = torch.randn(w.shape, generator=rng).to(w)
                optimizer.step()
            kept[fused, lambd] = w.float().mean().item()
        advice[fused] = kinds_advice(audit(optimizer, steps=200))["rounding"]
    assert kept[False, 0.1] / kept[False, 0.0] == pytest.approx(1, abs=0.01)
    assert kept[True, 0.1] / kept[True, 0.0] == pytest.approx(0.999**200, abs=0.05)
    assert "Fused, a weight does decay" in advice[True]
    assert "Fused" not in advice[False]


@pytest.mark.parametrize(
    ("name", "cure"), [("Adam", "Use AdamW."), ("NAdam", f"Use {FLAG}=True."), ("Adagrad", "Use AdamW.")]
)
def test_coupled_decay_under_adam_is_pointed_out(name, cure):
    coupled = getattr(torch.optim, name)([weights()], weight_decay=0.1)
    assert kinds_advice(audit(coupled))["normalised"].endswith(cure)
    assert "normalised" not in kinds(audit(AdamW([weights()], weight_decay=0.1)))


def test_a_lambda_in_the_papers_units_does_nothing_in_pytorch():
    report = audit(AdamW([weights()], lr=1e-3, weight_decay=8e-5), steps=390_000)
    assert report.groups[0].left == pytest.approx(0.969, abs=2e-3)
    assert "give λ/η = 0.08;" in kinds_advice(report)["units"]
    assert kinds(audit(AdamW([weights()], lr=1e-3, weight_decay=8e-5))).keys() == {"units"}
    muon = torch.optim.Muon([weights()], lr=0.02, weight_decay=0.01)  # a small λ with a large η
    assert audit(muon, steps=10_000).warnings == audit(muon).warnings == []


def test_the_usual_fine_tuning_decays_nothing():
    report = audit(AdamW([weights()], lr=2e-5, weight_decay=0.01), steps=10_000)
    assert kinds(report).keys() == {"nothing"}
    assert "A λ of 5 would" in kinds_advice(report)["nothing"]


def test_a_step_that_takes_the_whole_weight_is_too_strong():
    assert "strong" in kinds(audit(SGD([weights()], lr=0.1, momentum=0.9, weight_decay=1), steps=5))


def test_asgd_has_a_decay_of_its_own():
    report = audit(torch.optim.ASGD([weights()], lr=0.1), steps=5)
    assert report.groups[0].lambd == 1e-4
    assert "lambd = 0.0001" in kinds_advice(report)["averaged"]


def test_loras_factors_are_named():
    model = nn.Module()
    model.lora_A, model.lora_B = (nn.ModuleDict({"default": nn.Linear(4, 4, bias=False)}) for _ in "AB")
    found = kinds(audit(AdamW(parameter_groups(model, 0.1)), model))
    assert found == {"lora": ["lora_A.default.weight", "lora_B.default.weight"]}


def test_what_looks_like_something_to_spare_is_not_always():
    """Matrices that only their names, or shapes, would make a token, a position table, a bias or a vector."""
    model = nn.ModuleDict(
        {
            "embed_tokens": nn.Embedding(4, 4), "pos_embed": nn.Linear(3, 4, bias=False),
            "pos_proj": nn.Linear(4, 4, bias=False), "unbiased": nn.Linear(4, 4, bias=False),
            "composer_embed": nn.Embedding(4, 4), "pointwise": nn.Conv1d(4, 1, 1, bias=False),
            "regression": nn.Linear(200, 1, bias=False), "token_type": nn.Embedding(2, 4),
        }
    )  # fmt: skip
    assert parameter_groups(model, 0.1)[1]["names"] == []
    model.pos_bias_u = nn.Parameter(torch.zeros(2, 4))  # Conformer's: a bias that is a matrix
    model.pos, model.abs_pe, model.registers = (nn.Parameter(torch.zeros(4, 4)) for _ in range(3))
    model["positions"] = nn.Embedding(4, 4)
    assert parameter_groups(model, 0.1)[1]["names"] == ["pos_bias_u", "pos", "abs_pe", "registers", "positions.weight"]


def test_a_sharded_model_is_audited(tmp_path):
    """FSDP2's parameters have no memory of their own."""
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    try:
        model = normed()[1:]
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        optimizer = Adam(model.parameters(), weight_decay=0.1)
        report = audit(optimizer, model, steps=20)
        assert kinds(report).keys() == {"normalised", "bias"}
        assert report.groups[0].numbers == 9
        assert report.groups[0].left < 1
        with pytest.raises(ValueError, match="as it was before it was wrapped"):
            audit(optimizer, model, data=torch.zeros(2, 8))
    finally:
        distributed.destroy_process_group()


# Names, groups and the report


def test_names_come_from_the_groups_where_there_is_no_model():
    model = normed()
    by_pytorch = AdamW(model.named_parameters(), weight_decay=0.1)
    by_us = AdamW(parameter_groups(model, 0.1), weight_decay=0.1)
    assert kinds(audit(by_pytorch))["bias"] == ["0.bias", "2.bias"]
    assert audit(by_us).warnings == []
    assert kinds(audit(AdamW(model.parameters())))["gain"] == ["group 0, parameter 0, 8", "group 0, parameter 4, 1"]


def test_groups_work_with_every_optimizer_and_survive_a_checkpoint():
    model = convnet()
    for name, meaning in MEANINGS.items():
        if name not in ("LBFGS", "Muon"):  # which take one group, or matrices
            optimizer = getattr(torch.optim, name)(parameter_groups(model, 0.1))
            assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0]
            optimizer.load_state_dict(optimizer.state_dict())
            assert optimizer.param_groups[0]["names"] == ["0.weight", "4.weight", "8.weight"]


def test_groups_spare_what_is_asked_for_and_skip_what_is_frozen():
    model = Recurrent()
    model.lstm.weight_hh_l0.requires_grad_(False)
    decayed, spared = parameter_groups(model, 0.1, spare=["embed", "out.weight"])
    assert decayed["names"] == ["lstm.weight_ih_l0"]
    assert set(spared["names"]) == {"embed.weight", "out.weight", "lstm.bias_ih_l0", "lstm.bias_hh_l0", "out.bias"}
    assert parameter_groups(model, 0.1, spare="embed")[0]["names"] == ["lstm.weight_ih_l0", "out.weight"]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m, o: audit(m, o), "Give the optimizer first"),
        (lambda m, o: audit(o, o), "Give the optimizer first"),
        (lambda m, o: audit(o, data=torch.zeros(1)), "give the model too"),
        (lambda m, o: audit(o, nn.DataParallel(m), data=torch.ones(2, 4)), "as it was before it was wrapped"),
        (lambda m, o: audit(o, steps=0), "The number of steps must be a whole number from 1 to 2000000, but it is 0."),
        (lambda m, o: audit(o, steps=10, steps_per_epoch=0), "The length of an epoch must be"),
        (lambda m, o: audit(o, steps=10, schedule="step"), "There is no schedule 'step'; there are constant,"),
        (lambda m, o: audit(o, nn.LazyLinear(3)), "send a batch through the model first"),
        (lambda m, o: audit(o, nn.Sequential(nn.Linear(4, 4), Silent()), data=torch.ones(2, 4)), "returns no tensor"),
        (lambda m, o: parameter_groups(m, -1), "λ must be a finite number that is not negative, but it is -1."),
        (lambda m, o: parameter_groups(m, math.nan), "λ must be a finite number that is not negative, but it is nan."),
        (lambda m, o: parameter_groups(m, math.inf), "λ must be a finite number that is not negative, but it is inf."),
        (lambda m, o: parameter_groups(m, 0.1, spare=["wieght"]), "no parameter and no module called 'wieght'"),
        (lambda m, o: parameter_groups(nn.LazyLinear(3), 0.1), "send a batch through the model first"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(call, sentence):
    model = nn.Linear(4, 4)
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        call(model, AdamW(model.parameters()))
    assert "\n" not in str(caught.value)


class Silent(nn.Module):
    """A model whose output is not a tensor."""

    def forward(self, x):
        return "done"


def test_the_report_is_text_html_and_a_table():
    model = MODELS["BERT"][0]()
    report = audit(AdamW(model.parameters(), lr=1e-3, weight_decay=0.1), model, steps=10_000, steps_per_epoch=250)
    text, page, table = str(report), report._repr_html_(), report.to_pandas()
    assert repr(report) == text
    assert "10,000 steps" in text.splitlines()[0]
    assert text.splitlines()[2].split() == [
        "0", "100.0%", "0.001", "0.1", "decoupled", "0.3679", "10,000", "40", "1", "23", "float32",
    ]  # fmt: skip
    assert page.count("<tr>") == 2
    assert page.count("<li>") == len(report.warnings) == text.count("\n[")
    assert list(table.columns) == list(Group._fields)
    assert table.left[0] == report.groups[0].left
    assert table.to_xarray().sizes["index"] == 1
    assert "and 6 more: biases that decay" in text


def test_what_a_model_calls_its_parameters_is_escaped_in_html():
    model = nn.Module()
    model.register_parameter("<b>bias</b>_bias", nn.Parameter(torch.ones(2)))
    assert "&lt;b&gt;bias" in audit(AdamW(model.parameters()), model)._repr_html_()


def test_a_group_without_weight_decay_is_left_alone():
    (row,) = audit(AdamW([weights()], weight_decay=0), steps=100, steps_per_epoch=10).groups
    assert (row.left, row.timescale, row.epochs) == (1, math.inf, math.inf)


def test_every_kind_of_warning_is_tested_here():
    """A sentence that no test provokes could say anything."""
    here = inspect.getsource(inspect.getmodule(test_it_changes_nothing))
    assert [kind for kind in ADVICE if f'"{kind}"' not in here] == []


def test_the_public_names_are_there():
    assert {"audit", "parameter_groups"} <= set(weightdecay.__all__)


def test_a_weight_that_the_data_do_not_reach_is_not_passed_over():
    """Silence would read as: its scale matters."""
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.LayerNorm(8), nn.Linear(8, 4))
    optimizer = SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    assert kinds(audit(optimizer, model, data=torch.randn(5, 8)))["invariant"] == ["0.weight"]
    nn.init.zeros_(model[2].weight)  # as residual branches begin
    assert kinds(audit(optimizer, model, data=torch.randn(5, 8)))["unmoved"] == ["0.weight", "2.weight"]


def test_data_that_the_model_does_not_take_get_one_sentence():
    model = nn.Linear(8, 4)
    optimizer = SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    for wrong in (torch.randn(5, 9), [torch.randn(5, 8), torch.zeros(5)], {"x": torch.randn(5, 8)}):
        with pytest.raises(ValueError, match="without targets"):
            audit(optimizer, model, data=wrong)


def test_a_scheduler_is_not_a_schedule():
    optimizer = SGD(nn.Linear(8, 4).parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    with pytest.raises(ValueError, match="by its name"):
        audit(optimizer, steps=10, schedule=scheduler)


def test_a_model_whose_length_is_unknown_is_a_model():
    class Odd(nn.Linear):
        def __len__(self):
            raise TypeError("no length")

    model = Odd(8, 4)
    report = audit(SGD([model.weight], lr=0.1, weight_decay=0.1), model)
    assert kinds(report)["missing"] == ["bias"]
