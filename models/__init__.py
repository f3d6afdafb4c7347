"""Networks and their loading: torch only, no ROS, no ``sensorium`` imports (ground floor)."""
