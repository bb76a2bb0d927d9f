#include "fcos_ops/scale_gradients.h"

#include "calls.h"

namespace fuzz {

using fcos_ops::ScaledGradient;

void list_breaks(Breaks& breaks, fcos_ops::ScaleGradientsArgs& args) {
  const auto change = [&](const char* name, const std::function<void(ScaledGradient&)>& how) {
    breaks.level<ScaledGradient>(name, args.gradients, args.count, how);
  };
  const std::int32_t too_many = fcos_ops::kMaxScaledGradients + 1;
  breaks.field("count", args.count, {-1, INT32_MIN, too_many, INT32_MAX});
  breaks.pointer("gradients", args.gradients, args.count > 0);
  change("batch", [](ScaledGradient& one) { one.batch = -1; });
  change("channels", [](ScaledGradient& one) { one.channels = fcos_ops::kMaxElements + 1; });
  change("height", [](ScaledGradient& one) { one.view.height = INT64_MIN; });
  change("sizes wrap",
         [](ScaledGradient& one) { one.view.height = one.view.width = std::int64_t{1} << 32; });
  change("dtype", [](ScaledGradient& one) { one.dtype = DType::kInt32; });
  change("scale is null", [](ScaledGradient& one) { one.scale = nullptr; });
  change("data is null", [](ScaledGradient& one) {
    one.view.data = nullptr;
    one.batch = one.channels = one.view.height = one.view.width = 1;
  });
}

void scale_gradients(Random& random) {
  const DType first = floating(random);
  const DType maths = maths_of(first);
  Array factors = numbers(random, maths, 3, 0, 3);
  const Style style(random);
  std::vector<Map> maps;
  std::vector<ScaledGradient> gradients;
  for (std::int64_t i = random.integer(0, 5); i > 0; --i) {
    DType dtype = first;
    if (maths != DType::kFloat64) {
      do dtype = floating(random);
      while (dtype == DType::kFloat64);
    }
    const std::int64_t batch = random.integer(0, 3), channels = random.integer(0, 9);
    const std::int64_t height = random.integer(0, 12), width = random.integer(0, 400);
    maps.emplace_back(random, style, dtype, batch, channels, height, width);
    ScaledGradient gradient = {maps.back().mutable_view(), batch, channels, dtype};
    gradient.scale = factors.at(random.integer(0, 2));
    gradients.push_back(gradient);
  }
  fcos_ops::ScaleGradientsArgs args;
  args.gradients = gradients.data();
  args.count = static_cast<std::int32_t>(gradients.size());
  call(random, args, fcos_ops::scale_gradients);
}

}  // namespace fuzz
