// The words of Python's options, in the order of the enumerators that they stand for.
#pragma once

namespace fcos_ops::bindings {

inline constexpr const char* kIouKinds[] = {"iou", "linear_iou", "giou", "diou", "ciou"};
inline constexpr const char* kBoxFormats[] = {"xyxy", "ltrb"};
inline constexpr const char* kCenterRegions[] = {"clipped", "chebyshev"};
inline constexpr const char* kAreaRules[] = {"exact", "float32_complement"};
inline constexpr const char* kBoxWeights[] = {"centerness", "uniform"};
inline constexpr const char* kActivations[] = {"none", "relu"};
inline constexpr const char* kNormalizers[] = {"positives", "per_image"};
inline constexpr const char* kThresholdOn[] = {"class", "score"};
inline constexpr const char* kRankBy[] = {"class", "score"};
inline constexpr const char* kScores[] = {"product", "sqrt"};
inline constexpr const char* kClips[] = {"after_nms", "before_nms"};

}  // namespace fcos_ops::bindings
