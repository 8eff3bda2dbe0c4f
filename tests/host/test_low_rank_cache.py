"""The cache of low-rank differences: what finds one again, and what happens while another process holds its file."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import comfy.utils
import folder_paths
import pytest
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete
from realign.nodes import load_anchor
from realign.nodes.load_anchor import LoadAnchorModel
from realign.nodes.models import low_rank_cache, whole_files
from safetensors.torch import load_file, save_file

KEY = "middle_block.1.transformer_blocks.0.attn2.to_k.weight"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path))
    return tmp_path / "realign" / "low_rank"


@pytest.fixture
def computed(monkeypatch):
    """The ranks of the differences that were computed, and not found."""
    out, real = [], load_anchor.factorise
    monkeypatch.setattr(load_anchor, "factorise", lambda *args: out.append(args[2]) or real(*args))
    return out


@pytest.fixture
def anchor(tiny, request):
    """A checkpoint of this test's own, whose β is in its header."""
    path = tiny.dir / "checkpoints" / f"cached_{request.node.name.replace('[', '_').replace(']', '')}.safetensors"
    write(tiny, path)
    yield path
    path.unlink(missing_ok=True)


def write(tiny, path, seed=5, beta=500):
    weights = dict(tiny.weights("sd15"))
    weights[KEY] = weights[KEY] + 0.1 * torch.randn(320, 768, generator=torch.Generator().manual_seed(seed))
    metadata = {"realign.beta": str(beta)}
    save_file({f"model.diffusion_model.{k}": v.contiguous() for k, v in weights.items()}, path, metadata=metadata)


def load(reference, path, rank=16):
    return LoadAnchorModel.execute(reference, f"checkpoints/{path.name}", 1.0, "from file", 0.0, rank).args


def reference_of(tiny):
    return tiny.load(tiny.reference("sd15"))


def patch_of(model):
    weight = torch.zeros(320, 768)
    return comfy.lora.calculate_weight(model.patches[f"diffusion_model.{KEY}"], weight, KEY)


def test_a_second_load_reads_nothing_of_the_anchor_but_its_header(tiny, anchor, computed, monkeypatch):
    """Its weights are replaced by rubbish of the same size in the same instant: nobody notices."""
    first, model = load(reference_of(tiny), anchor)
    stat, data = anchor.stat(), bytearray(anchor.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    data[begin:] = b"\x7f" * (len(data) - begin)
    anchor.write_bytes(data)
    os.utime(anchor, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    read, real = [], comfy.utils.load_torch_file
    monkeypatch.setattr(comfy.utils, "load_torch_file", lambda path, *a, **k: read.append(path) or real(path, *a, **k))
    second, again = load(reference_of(tiny), anchor)
    assert computed == [16]
    assert not [path for path in read if str(anchor) in str(path)]
    assert [path for path in read if "low_rank" in str(path)]
    assert torch.equal(patch_of(model), patch_of(again))
    assert second[0].beta == first[0].beta
    assert second[0].name == anchor.name


@pytest.mark.parametrize("change", ["time", "header", "weights"])
def test_a_changed_file_is_another_anchor(tiny, anchor, computed, change):
    load(reference_of(tiny), anchor)
    stat = anchor.stat()
    if change == "time":
        os.utime(anchor, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))
    else:
        write(tiny, anchor, **({"seed": 6} if change == "weights" else {"beta": 700}))
    if change == "header":
        os.utime(anchor, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert anchor.stat().st_size == stat.st_size
    load(reference_of(tiny), anchor)
    assert computed == [16, 16]


def test_a_pickle_is_found_by_its_size_time_and_ends(tiny, computed):
    path = tiny.dir / "checkpoints" / "cached_pickle.ckpt"
    weights = tiny.weights("sd15") | {KEY: tiny.weights("sd15")[KEY] + 0.1 * torch.randn(320, 768)}
    torch.save({"state_dict": {f"model.diffusion_model.{k}": v for k, v in weights.items()}}, path)
    for _ in range(2):
        load(reference_of(tiny), path)
    assert computed == [16]
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-300_000] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    place = low_rank_cache.DifferenceCache.of(reference_of(tiny), path, 16)
    assert place.read() is None
    path.unlink()


def test_a_reference_that_is_no_longer_its_file(tiny, anchor, computed):
    """What counts is the model that the host has loaded: its file may have been written anew since."""
    load(reference_of(tiny), anchor)
    other = reference_of(tiny)
    weight = other.model.diffusion_model.get_submodule(KEY.removesuffix(".weight")).weight
    other.model.diffusion_model.get_submodule(KEY.removesuffix(".weight")).weight = torch.nn.Parameter(
        weight + 0.01, requires_grad=False
    )
    load(other, anchor)
    assert computed == [16, 16]


def test_a_reference_from_no_file(tiny, anchor, computed):
    for moved in (0, 0, 1e-3):
        reference = reference_of(tiny)
        reference.cached_patcher_init = None
        weight = reference.model.diffusion_model.get_submodule(KEY.removesuffix(".weight")).weight
        weight.data = weight.data.clone()
        weight.data[100, 101] += moved  # in no sample
        load(reference, anchor)
    assert computed == [16, 16]


def test_a_cached_pair_is_still_refused_where_it_does_not_fit(tiny, anchor, computed):
    reference = reference_of(tiny)
    load(reference, anchor)
    (other,) = ModelSamplingDiscrete().patch(reference, "v_prediction", False)
    with pytest.raises(ValueError, match="predicts EPS, but the reference model predicts V_PREDICTION"):
        load(other, anchor)
    assert computed == [16]


def held(monkeypatch, times):
    """os.replace as Windows has it while another process reads the target, `times` times."""
    tried, real = [], os.replace

    def replace(source, target):
        if os.path.exists(target):
            tried.append(target)
            if len(tried) <= times:
                raise PermissionError(13, "The process cannot access the file because it is being used", str(target))
        return real(source, target)

    monkeypatch.setattr(whole_files.os, "replace", replace)
    monkeypatch.setattr(whole_files.time, "sleep", lambda seconds: None)
    return tried


@pytest.mark.parametrize("times", [2, 1000])
def test_a_broken_file_that_another_process_reads_is_replaced(tiny, anchor, folder, computed, monkeypatch, times):
    """After a while, or by a file beside it where it stays open; either is found again."""
    load(reference_of(tiny), anchor)
    (file,) = folder.iterdir()
    broken = file.read_bytes()[:-5] + b"12345"
    file.write_bytes(broken)
    tried = held(monkeypatch, times)
    unlink = type(file).unlink

    def no_unlink(path, *args, **kwargs):
        if path == file:
            raise PermissionError(13, "in use", str(path))
        unlink(path, *args, **kwargs)

    monkeypatch.setattr(type(file), "unlink", no_unlink)
    _, model = load(reference_of(tiny), anchor)
    assert computed == [16, 16]
    assert len(tried) == min(times + 1, whole_files.TRIES)
    assert (file.read_bytes() == broken) == (times == 1000)
    assert len(list(folder.iterdir())) == (2 if times == 1000 else 1)
    assert not list(folder.glob("*.part"))
    _, again = load(reference_of(tiny), anchor)
    assert computed == [16, 16]
    assert torch.equal(patch_of(model), patch_of(again))


def test_what_lay_beside_is_removed_once_it_can_be(tiny, anchor, folder, computed):
    load(reference_of(tiny), anchor)
    (file,) = folder.iterdir()
    beside = file.with_name(f"{file.stem}-0a1b2c3d.safetensors")
    beside.write_bytes(b"broken")
    file.write_bytes(b"broken")
    load(reference_of(tiny), anchor)
    assert computed == [16, 16]
    assert list(folder.iterdir()) == [file]
    assert load_file(file)


def test_a_folder_that_refuses_every_file(tiny, anchor, folder, monkeypatch, caplog):
    def refused(source, target):
        raise PermissionError(13, "Access is denied", str(target))

    monkeypatch.setattr(low_rank_cache.os, "replace", refused)
    monkeypatch.setattr(low_rank_cache.time, "sleep", lambda seconds: pytest.fail("waits for nobody"))
    _, model = load(reference_of(tiny), anchor)
    assert model.patches
    assert "could not be kept" in caplog.text
    assert not list(folder.iterdir())


def test_unfinished_files_of_processes_that_are_gone_are_removed(tiny, anchor, folder):
    folder.mkdir(parents=True)
    old, young = folder / "old.part", folder / "young.part"
    for path in (old, young):
        path.write_bytes(b"")
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    load(reference_of(tiny), anchor)
    assert not old.exists()
    assert young.exists()


def test_an_anchor_that_changes_while_it_is_read_is_not_kept(tiny, anchor, folder, monkeypatch):
    real = load_anchor.factorise

    def slow(*args):
        os.utime(anchor)
        return real(*args)

    monkeypatch.setattr(load_anchor, "factorise", slow)
    load(reference_of(tiny), anchor)
    assert not list(folder.glob("*"))


def test_a_name_that_would_be_a_pattern(tiny, computed):
    path = tiny.dir / "checkpoints" / "cached [v1].*.safetensors"
    write(tiny, path)
    for _ in range(2):
        load(reference_of(tiny), path)
    assert computed == [16]
    path.unlink()


@pytest.fixture
def shards(tiny, request):
    """(index, the shards) of an anchor as diffusers saves what is large; the second shard's header has its β."""
    folder = tiny.dir / "checkpoints" / f"cached_{request.node.name}"
    folder.mkdir()
    index = folder / "model.safetensors.index.json"
    paths = [folder / f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    write(tiny, folder / "whole.safetensors")
    weights = load_file(folder / "whole.safetensors")
    (folder / "whole.safetensors").unlink()
    for i, path in enumerate(paths):
        held = {key: weights[key] for key in sorted(weights)[i::2]}
        save_file(held, path, metadata={"realign.beta": "500"} if i else None)
    where = {key: paths[i].name for i in (0, 1) for key in sorted(weights)[i::2]}
    index.write_text(json.dumps({"weight_map": where}))
    yield index, paths
    shutil.rmtree(folder)


def test_an_anchor_in_shards_is_found_by_all_of_them_with_its_beta(tiny, shards, computed):
    index, (_, second) = shards
    choice = Path(index.parent.name, index.name)
    for _ in range(2):
        anchor, _ = LoadAnchorModel.execute(reference_of(tiny), f"checkpoints/{choice}", 1.0, "from file", 0.0, 16).args
        assert anchor[0].beta == 500
    assert computed == [16]
    held = {key: value + 0.1 for key, value in load_file(second).items()}
    save_file(held, second, metadata={"realign.beta": "700"})
    anchor, _ = LoadAnchorModel.execute(reference_of(tiny), f"checkpoints/{choice}", 1.0, "from file", 0.0, 16).args
    assert computed == [16, 16]
    assert anchor[0].beta == 700
    second.unlink()
    assert low_rank_cache.DifferenceCache.of(reference_of(tiny), index, 16) is None  # `open_anchor` says why


def test_a_reference_with_patches_has_no_place(tiny, anchor):
    reference = reference_of(tiny)
    assert low_rank_cache.DifferenceCache.of(reference, anchor, 8) is not None
    reference.patches = {"anything": []}
    assert low_rank_cache.DifferenceCache.of(reference, anchor, 8) is None
