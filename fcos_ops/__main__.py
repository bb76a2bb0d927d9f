"""`python -m fcos_ops`: what was built and runs here, for a bug report; paths for build tools."""

import argparse
import json
import sys

import fcos_ops


def main() -> None:
    """Prints; where that is not there, exits with one line that says why."""
    parser = argparse.ArgumentParser(prog="python -m fcos_ops", description=__doc__)
    parser.add_argument("--include", action="store_true", help="print the C++ include directory")
    parser.add_argument("--library", action="store_true", help="print the directory of the library")
    parser.add_argument("--cmake", action="store_true", help="print the CMake package directory")
    options = parser.parse_args()
    try:
        paths = [
            *([fcos_ops.get_include()] if options.include else []),
            *([fcos_ops.get_library_dir()] if options.library else []),
            *([fcos_ops.get_cmake_dir()] if options.cmake else []),
        ]
        print("\n".join(paths) if paths else json.dumps(fcos_ops.build_info(), indent=2))
    except (ImportError, RuntimeError) as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
