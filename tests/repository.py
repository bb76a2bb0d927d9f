"""Where the sources are, for tests that read or build them, and the photos that some tests use."""

import os
from pathlib import Path

# Set where the tests were copied away from the source tree to test an installed wheel.
REPOSITORY = Path(os.environ.get("FCOS_OPS_REPOSITORY", Path(__file__).resolve().parent.parent))

# 160 photos of COCO with their annotations; tests that need them are skipped where they are not.
PHOTOS = Path(os.environ.get("FCOS_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "coco-tiny"
WITHOUT_PHOTOS = f"photos are not redistributed; none in {PHOTOS} (set FCOS_TEST_DATA)"
