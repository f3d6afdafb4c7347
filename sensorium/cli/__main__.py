"""``python -m sensorium.cli``: the command without an installed script."""

import sys

from sensorium.cli import main

sys.exit(main())
