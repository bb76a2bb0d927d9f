// Calls every function on random arguments; run as `fuzz hostile`, on arguments that are then
// broken.
#include <cstdio>
#include <cstring>

#include "random.h"

int main(int argc, char** argv) {
  fuzz::is_hostile = argc > 1 && std::strcmp(argv[1], "hostile") == 0;
  for (unsigned seed = 0; seed < fuzz::kRounds; ++seed) {
    fuzz::Random random(seed);
    fuzz::assign_targets(random);
    fuzz::centerness(random);
    fuzz::fcos_loss(random);
    fuzz::focal_loss(random);
    fuzz::group_norm(random);
    fuzz::iou_loss(random);
    fuzz::nms(random);
    fuzz::postprocess(random);
    fuzz::scale_gradients(random);
  }
  std::printf("%d rounds, no finding\n", fuzz::kRounds);
}
