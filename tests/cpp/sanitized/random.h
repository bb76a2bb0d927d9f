// Random inputs for the fuzzers, a good part of them unpleasant.
#pragma once

#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "fcos_ops/types.h"

namespace fuzz {

#if defined(FCOS_OPS_SIMT)
inline constexpr std::int32_t kDevice = 0, kRounds = 50;
#else
inline constexpr std::int32_t kDevice = fcos_ops::kCpuDevice, kRounds = 300;
#endif

inline bool is_hostile = false;  // calls are broken first: see calls.h

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}

  std::int64_t integer(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }
  bool chance(double probability) { return std::bernoulli_distribution(probability)(engine_); }
  float real(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(engine_);
  }
  // Mostly ordinary, now and then NaN, infinite, huge, tiny or zero.
  float nasty(float low, float high) {
    if (!chance(0.02)) return real(low, high);
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const float special[] = {std::numeric_limits<float>::quiet_NaN(),
                             kInfinity,
                             -kInfinity,
                             3e38f,
                             -3e38f,
                             1e-40f,
                             0.0f,
                             -0.0f,
                             1e10f};
    return special[integer(0, 8)];
  }
  // xyxy boxes inside about `extent` pixels; some inverted or empty.
  std::vector<float> boxes(std::int64_t count, float extent) {
    std::vector<float> result;
    for (std::int64_t i = 0; i < count; ++i) {
      const float x = nasty(-10, extent), y = nasty(-10, extent);
      result.insert(result.end(), {x, y, x + nasty(-5, extent / 2), y + nasty(-5, extent / 2)});
    }
    return result;
  }
  // Ragged offsets [images + 1] over `count` boxes.
  std::vector<std::int64_t> offsets(std::int64_t images, std::int64_t count) {
    std::vector<std::int64_t> result = {0};
    for (std::int64_t i = 1; i < images; ++i) result.push_back(integer(result.back(), count));
    if (images > 0) result.push_back(count);
    return result;
  }
  // On the CPU with one or two threads, or, in the program that has the kernels, on a "GPU".
  fcos_ops::Context context() {
    return {kDevice, nullptr, static_cast<std::int32_t>(integer(1, 2))};
  }

 private:
  std::mt19937 engine_;
};

// A heap block of exactly `size` bytes, so that one byte too far is seen; what it holds must not
// matter.
struct Scratch {
  explicit Scratch(std::size_t size) : memory(size, '\x7f') {}
  fcos_ops::Workspace workspace() { return {memory.data(), memory.size()}; }
  std::vector<char> memory;
};

// Each calls one op on drawn arguments.
void assign_targets(Random& random);
void centerness(Random& random);
void fcos_loss(Random& random);
void focal_loss(Random& random);
void group_norm(Random& random);
void iou_loss(Random& random);
void nms(Random& random);
void postprocess(Random& random);
void scale_gradients(Random& random);

}  // namespace fuzz
