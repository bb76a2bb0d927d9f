"""A file that mmdetection's own classes write is converted to a network that detects as they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.detectors import convert_file
from fcos.structures import pad_images
from PIL import Image

from .own_model import import_mmdet, random_model, thin_config

pytestmark = pytest.mark.mmdetection
try:
    import_mmdet()
except ImportError as error:
    pytest.skip(f"mmdet is not installed: {error} (make test-mmdetection)", allow_module_level=True)

_BASE = "fcos_r50-caffe_fpn_gn-head_1x_coco.py"
_TRICKS = "fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py"
_CENTER = "fcos_r50-caffe_fpn_gn-head-center_1x_coco.py"
_PYTORCH = "fcos_r50_fpn_gn-head-center-normbbox-centeronreg-giou_8xb8-amp-lsj-200e_coco.py"
_RESNET18 = "fcos_r18_fpn_gn-head-center-normbbox-centeronreg-giou_8xb8-amp-lsj-200e_coco.py"
_NAMES = ("cup", "ball", "hat")


@pytest.mark.parametrize("name", [_BASE, _TRICKS, _CENTER, _PYTORCH, _RESNET18])
def test_detections_of_a_converted_file_are_mmdetections(name: str, tmp_path: Path) -> None:
    from mmdet.structures import DetDataSample
    from mmengine.logging import MessageHub
    from mmengine.runner.checkpoint import save_checkpoint

    config = thin_config(name, len(_NAMES))
    theirs = random_model(config)
    path = tmp_path / "epoch_12.pth"
    meta = {"cfg": config.pretty_text, "dataset_meta": {"classes": _NAMES}, "epoch": 12}
    # what its training adds: objects of its own and of numpy
    hub = MessageHub.get_instance("train")
    hub.update_scalar("train/loss", 1.5)
    content = {"meta": meta, "state_dict": theirs.state_dict(), "message_hub": hub.state_dict()}
    save_checkpoint(content, str(path))
    ours, notes = convert_file(path)
    assert notes == ["the category ids are taken to be 1 to 3: the file has names only"]
    assert ours.config.class_names == _NAMES

    pixels = torch.randint(0, 256, (3, 128, 160), dtype=torch.uint8)
    rgb = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    preprocessing = ours.config.preprocessing
    assert (preprocessing.size, preprocessing.max_size) == (800, 1333)
    batch = pad_images([preprocessing._replace(size=128, max_size=160).image(rgb)])
    sample = DetDataSample(
        metainfo={"img_shape": (128, 160), "ori_shape": (256, 320), "scale_factor": (0.5, 0.5)}
    )
    data = {"inputs": [pixels.flip(0)], "data_samples": [sample]}  # it reads files as BGR
    with torch.inference_mode():
        wanted = theirs.test_step(data)[0].pred_instances
        theirs_maps = theirs.bbox_head(theirs.extract_feat(_prepared(theirs, data)))
        ours_maps = ours.head(ours.backbone(batch.tensor))
        levels = ours.levels(ours_maps, batch)
        found = ours.detect(batch, original_sizes=torch.tensor([[256, 320]]))
    normalized = ours.config.assignment.normalize_ltrb
    for level, geometry in enumerate(levels):
        scale = geometry.scale if normalized else 1.0
        # float32 on both sides: sums of up to 1152 products in another order
        for mine, other in (
            (ours_maps.classification[level], theirs_maps[0][level]),
            (ours_maps.ltrb[level] * scale, theirs_maps[1][level]),
            (ours_maps.centerness[level], theirs_maps[2][level]),
        ):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)
    count = int((found.labels[0] >= 0).sum())
    assert count == len(wanted) > 20
    torch.testing.assert_close(found.scores[0, :count], wanted.scores, rtol=1e-4, atol=1e-5)
    assert found.labels[0, :count].tolist() == wanted.labels.tolist()
    torch.testing.assert_close(found.boxes[0, :count], wanted.bboxes, rtol=1e-4, atol=1e-2)


def _prepared(model: Any, data: Any) -> torch.Tensor:
    return model.data_preprocessor(data, False)["inputs"]
