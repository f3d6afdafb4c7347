import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
