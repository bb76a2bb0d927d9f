// From an Activation to a type that a loop or kernel is compiled for.
#pragma once

#include <type_traits>

#include "fcos_ops/group_norm.h"

namespace fcos_ops {

// Calls body(is_relu), an integral constant.
template <class Body>
auto with_activation(Activation activation, const Body& body) {
  return activation == Activation::kRelu ? body(std::true_type{}) : body(std::false_type{});
}

}  // namespace fcos_ops
