#include "random.h"

int main() {
  for (unsigned seed = 0; seed < 300; ++seed) {
    fuzz::Random random(seed);
    fuzz::assign_targets(random);
    fuzz::centerness(random);
    fuzz::fcos_loss(random);
    fuzz::focal_loss(random);
    fuzz::iou_loss(random);
    fuzz::nms(random);
    fuzz::postprocess(random);
  }
  std::puts("300 rounds, no finding");
}
