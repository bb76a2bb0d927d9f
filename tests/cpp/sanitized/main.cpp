#include "random.h"

int main() {
  for (unsigned seed = 0; seed < fuzz::kRounds; ++seed) {
    fuzz::Random random(seed);
    fuzz::assign_targets(random);
    fuzz::centerness(random);
    fuzz::fcos_loss(random);
    fuzz::focal_loss(random);
    fuzz::iou_loss(random);
    fuzz::nms(random);
    fuzz::postprocess(random);
  }
  std::printf("%d rounds, no finding\n", fuzz::kRounds);
}
