// Focal loss and NMS.
#include <fcos_ops/focal_loss.h>
#include <fcos_ops/nms.h>

#include <cmath>

#include "device.h"

bool focal_loss(const fcos_ops::Context& context) {
  // Two locations, two classes, all logits 0: p = 1/2, so that an entry costs
  // weight * (1/2)^2 * log 2. The first location is of class 1, the second is background.
  Array<float> logits(context, std::vector<float>(4, 0.0f)), loss(context, {0.0f});
  Array<std::int64_t> labels(context, {1, -1});
  const fcos_ops::LevelView level = {logits.data(), 1, 2, 4, 4, 2, 1};
  fcos_ops::FocalLossArgs args;
  args.logits = &level;
  args.num_levels = 1;
  args.batch = 1;
  args.num_classes = 2;
  args.labels = labels.data();
  args.loss_sum = loss.data();
  return run(args, fcos_ops::sigmoid_focal_loss_workspace_size, fcos_ops::sigmoid_focal_loss,
             context) &&
         agree("focal loss", loss.read()[0], (0.25 + 3 * 0.75) * 0.25 * std::log(2.0));
}

bool nms(const fcos_ops::Context& context) {
  // The second box covers 81 of the first's 100 square pixels: IoU 0.81 > 0.5, so it goes. The
  // third touches neither. By score: 2, then 0.
  Array<float> boxes(context, {0, 0, 10, 10, 0, 0, 9, 9, 20, 20, 30, 30});
  Array<float> scores(context, {0.8f, 0.7f, 0.9f});
  Array<std::int64_t> keep(context, {-1, -1, -1}), count(context, {0});
  fcos_ops::NmsArgs args;
  args.boxes = boxes.data();
  args.scores = scores.data();
  args.num_boxes = 3;
  args.iou_threshold = 0.5;
  args.max_detections = 3;
  args.keep = keep.data();
  args.count = count.data();
  if (!run(args, fcos_ops::nms_workspace_size, fcos_ops::nms, context)) return false;
  const std::vector<std::int64_t> kept = keep.read();
  return agree("boxes kept", static_cast<double>(count.read()[0]), 2) && kept[0] == 2 &&
         kept[1] == 0;
}
