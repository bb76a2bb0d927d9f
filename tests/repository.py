"""Where the sources are, for tests that read or build them."""

import os
from pathlib import Path

# Set where the tests were copied away from the source tree to test an installed wheel.
REPOSITORY = Path(os.environ.get("FCOS_OPS_REPOSITORY", Path(__file__).resolve().parent.parent))
