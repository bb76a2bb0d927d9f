"""The colours that networks were trained on, from 0 to 255: mean and deviation of each channel."""

from __future__ import annotations

from ..preprocessing import PREPROCESSING

RGB_MEAN = (123.675, 116.28, 103.53)  # torchvision's (0.485, 0.456, 0.406) of 255
RGB_STD = (58.395, 57.12, 57.375)
BGR_MEAN = RGB_MEAN[::-1]
BGR_STD = RGB_STD[::-1]  # of Caffe2's backbones X-101-32x8d alone is used with it
MSRA_BGR_MEAN = (102.9801, 115.9465, 122.7717)  # Detectron and fcos_core; detectron2 has BGR_MEAN
NO_STD = (1.0, 1.0, 1.0)

# detectron2's images for networks whose backbone comes from Caffe2
CAFFE2_IMAGES = PREPROCESSING["detectron2"]._replace(
    channel_order="bgr", max_value=255.0, mean=BGR_MEAN, std=NO_STD
)
