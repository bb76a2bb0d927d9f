// Focal loss of any logits: what a thread does of the tiles that its block takes.
#pragma once

#include "cuda/focal_loss/class_major.cuh"
#include "cuda/focal_loss/location_major.cuh"
#include "cuda/focal_loss/tiling.cuh"

namespace fcos_ops::cuda::focal {

template <class T, Gamma kGamma, Labels kLabels, bool kLocationMajor>
class GeneralTiles {
  using Real = math::Real<T>;
  using Index = std::conditional_t<kLocationMajor, std::int64_t, std::uint32_t>;  // of a share

 public:
  __device__ GeneralTiles(const FocalTiling& tiling, const FocalArguments<Real>& args)
      : tiling_(tiling), args_(args) {}

  // The thread's part of the sum. `factors_of(image)` gives factors.
  template <class FactorsOf>
  __device__ __forceinline__ double sum(const FactorsOf& factors_of) const {
    const double total = sum_of<false>(factors_of);
    return has_infinite(total) ? sum_of<true>(factors_of) : total;
  }

 private:
  // kAnywhere: logits may be infinite.
  template <bool kAnywhere, class FactorsOf>
  __device__ __forceinline__ double sum_of(const FactorsOf& factors_of) const {
    double total = 0;
    for (Index i = blockIdx.x; i < static_cast<Index>(tiling_.count); i += gridDim.x) {
      const Index tile_index = kLocationMajor ? i : tiling_.chunk_divisor.quotient(i);
      const Tile tile = tiling_.tiles[tile_index];
      const ElementLoss<T, kGamma, kLabels> element_loss(args_, factors_of(tile.image));
      if constexpr (kLocationMajor) {
        total += LocationMajorTile<T, kGamma, kLabels>(args_, element_loss, tile)
                     .template sum<kAnywhere>();
      } else {
        const auto chunk =
            static_cast<std::int32_t>(i - tile_index * tiling_.chunk_divisor.divisor());
        total += ClassMajorTile<T, kGamma, kLabels>(args_, element_loss, tile,
                                                    chunk * tiling_.channels, tiling_.channels)
                     .template sum<kAnywhere>();
      }
    }
    return total;
  }

  const FocalTiling& tiling_;
  const FocalArguments<Real>& args_;
};

}  // namespace fcos_ops::cuda::focal
