#pragma once

namespace fcos_ops {

// The one place where the version is written: setup.py and CMakeLists.txt read it from this line.
inline constexpr char kVersion[] = "0.2.0";

}  // namespace fcos_ops
